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
    pub(super) command: &'static str,
    pub(super) package: &'static str,
    pub(super) why: &'static str,
}

/// The programs that the laboratory, the integration tests, the demo and the benchmarks run. Most traffic is generated
/// without them.
pub(super) const TOOLS: &[Tool] = &[
    Tool { command: "ip", package: "iproute2", why: "makes the laboratory's namespaces, links and routes" },
    Tool { command: "tc", package: "iproute2", why: "shows whether filters are left behind" },
    Tool { command: "ethtool", package: "ethtool", why: "sets the offloads and queues of the laboratory's links" },
    Tool { command: "ping", package: "iputils-ping", why: "makes ICMP traffic" },
    Tool { command: "tcpdump", package: "tcpdump", why: "captures the traffic of the corpus" },
    Tool { command: "dnsmasq", package: "dnsmasq-base", why: "answers DNS queries" },
    Tool { command: "softflowd", package: "softflowd", why: "computes flows from captures, for the benchmarks" },
];

/// The programs that receive, read and show the agent's output. Only the tests run them.
pub(super) const COLLECTORS: &[Tool] = &[
    Tool { command: "nfcapd", package: "nfdump", why: "collects IPFIX" },
    Tool { command: "nfdump", package: "nfdump", why: "prints what nfcapd collected" },
    Tool { command: "nfacctd", package: "pmacct", why: "collects IPFIX" },
    Tool { command: "ipfixDump", package: "libfixbuf-tools", why: "reads streams of IPFIX" },
    Tool { command: "tshark", package: "tshark", why: "decodes what collectors receive" },
    Tool { command: "prometheus", package: "prometheus", why: "scrapes metrics" },
    Tool { command: "prometheus-alertmanager", package: "prometheus-alertmanager", why: "receives alerts" },
    Tool { command: "rsyslogd", package: "rsyslog", why: "receives syslog messages" },
    Tool { command: "openssl", package: "openssl", why: "makes the certificate of a webhook" },
    Tool { command: "chromium", package: "chromium", why: "opens reports" },
    Tool { command: "tmux", package: "tmux", why: "is the terminal of the terminal UI" },
];

/// The programs that make a package.
pub(super) const PACKAGERS: &[Tool] = &[
    Tool { command: "dpkg-deb", package: "dpkg", why: "makes the Debian package" },
    Tool { command: "strip", package: "binutils", why: "removes debug information from the agent" },
    Tool { command: "gzip", package: "gzip", why: "compresses man pages" },
];

/// The programs with which the tests install and check the package.
pub(super) const INSPECTORS: &[Tool] = &[
    Tool { command: "systemd-analyze", package: "systemd", why: "verifies the unit" },
    Tool { command: "man", package: "man-db", why: "shows man pages" },
];

/// The programs for a virtual machine with another kernel.
pub(super) const EMULATORS: &[Tool] = &[
    Tool {
        command: "qemu-system-x86_64",
        package: "qemu-system-x86",
        why: "is the virtual machine for another kernel",
    },
    Tool { command: "depmod", package: "kmod", why: "lists the dependencies of kernel modules" },
    Tool { command: "insmod", package: "kmod", why: "loads modules in the virtual machine" },
    Tool { command: "xz", package: "xz-utils", why: "unpacks modules" },
];

/// The C compiler of the static agent.
pub(super) const STATIC_COMPILER: Tool =
    Tool { command: "musl-gcc", package: "musl-tools", why: "compiles zstd for the static agent" };

/// The program that unpacks the Debian system of the tests.
pub(super) const BOOTSTRAPPER: Tool =
    Tool { command: "debootstrap", package: "debootstrap", why: "makes the system that the package is installed in" };

/// The Debian release in which the tests install the package.
pub(super) const DEBIAN: &str = "bookworm";

/// Services that some of these packages start, and that are stopped after the installation.
pub(super) const SERVICES: &[(&str, &str)] = &[
    ("nfdump", "nfdump"),
    ("pmacct", "nfacctd"),
    ("prometheus", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("rsyslog", "rsyslog"),
];

/// The programs that only the corpus runs: those of normal clients, and those of attackers.
pub(super) const CORPUS_TOOLS: &[Tool] = &[
    Tool { command: "curl", package: "curl", why: "fetches pages and files, sends mail" },
    Tool { command: "ssh", package: "openssh-client", why: "logs in, copies files" },
    Tool { command: "openssl", package: "openssl", why: "makes the web servers' certificates" },
    Tool { command: "nmap", package: "nmap", why: "scans ports and hosts" },
    Tool { command: "masscan", package: "masscan", why: "scans networks" },
    Tool { command: "hping3", package: "hping3", why: "floods, hides data in pings" },
    Tool { command: "slowhttptest", package: "slowhttptest", why: "keeps connections to web servers up" },
    Tool { command: "hydra", package: "hydra", why: "guesses passwords" },
    Tool { command: "ifconfig", package: "net-tools", why: "sets the addresses of iodine's tunnel" },
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
    Tool { command: "pyftpdlib", package: "python3-pyftpdlib", why: "serves files" },
    Tool { command: "aiosmtpd", package: "python3-aiosmtpd", why: "receives mail" },
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
    Deny,
    Fuzzer,
    Target,
    Debian,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{COLLECTORS, CORPUS_TOOLS, INSPECTORS, PYTHON_SERVERS, SERVERS, TOOLS};
    use crate::rules;

    #[test]
    fn every_tool_that_is_installed_is_used() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let texts = rules::texts(&tests, "rs").expect("the laboratory's sources can be read");
        let tools = [TOOLS, COLLECTORS, CORPUS_TOOLS, PYTHON_SERVERS, INSPECTORS].concat();
        let servers = SERVERS.iter().map(|server| server.command);
        for command in tools.iter().map(|tool| tool.command).chain(servers) {
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
