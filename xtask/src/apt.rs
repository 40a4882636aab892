//! Installs Debian packages, and unpacks them without installing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Installs Debian packages without questions, without removing any, and without recommended packages.
pub(crate) fn install(packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    if shell::which("apt-get").is_none() {
        bail!(
            "apt-get was not found: install {} (names of Debian packages) with this system's package manager",
            packages.join(", ")
        );
    }
    let mut install = installation();
    install.args(packages);
    if offered(packages) && shell::run(&mut install).is_ok() {
        return Ok(());
    }
    // apt has no lists of packages yet, or they name files that no longer exist.
    update()?;
    if !offered(packages) {
        bail!("apt offers not all of these packages: {}", packages.join(", "));
    }
    shell::run(&mut install)
}

/// The packages, of these, that apt would install without removing an installed one.
pub(crate) fn installable(packages: &[String]) -> Vec<String> {
    let simulated = |package: &&String| shell::read(installation().arg("--simulate").arg(package)).is_some();
    packages.iter().filter(simulated).cloned().collect()
}

/// Unpacks a package in a folder. Nothing of the system changes.
pub(crate) fn unpack(package: &str, folder: &Path) -> Result<()> {
    if !offered(&[package.to_owned()]) {
        update()?;
    }
    let archives = folder.join("archives");
    fs::create_dir_all(&archives).with_context(|| format!("cannot make {}", archives.display()))?;
    let mut download = Command::new("apt-get");
    download.args(["-qq", "download", package]).current_dir(&archives);
    if shell::run(&mut download).is_err() {
        // The lists are older than the archive, which has another version now.
        update()?;
        shell::run(&mut download)?;
    }
    for entry in archives.read_dir().with_context(|| format!("cannot read {}", archives.display()))? {
        let archive = entry.with_context(|| format!("cannot read {}", archives.display()))?.path();
        shell::run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(folder))?;
    }
    fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))
}

/// The names of the packages in apt's lists that match a regular expression.
pub(crate) fn search(pattern: &str) -> Vec<String> {
    let found = shell::read(Command::new("apt-cache").args(["search", "--names-only", pattern]));
    let found = found.unwrap_or_default();
    found.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Fetches apt's lists of packages.
pub(crate) fn update() -> Result<()> {
    shell::run(apt().arg("update")).or_else(|_| {
        // apt does not wait for the lock of the lists, as it does for that of the packages.
        thread::sleep(Duration::from_secs(10));
        shell::run(apt().arg("update"))
    })
}

/// Whether apt can be run as root without a password.
pub(crate) fn may_install() -> bool {
    shell::is_root() || shell::read(Command::new("sudo").args(["-n", "true"])).is_some()
}

fn apt() -> Command {
    let mut command = shell::as_root("DEBIAN_FRONTEND=noninteractive");
    command.args(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]);
    command.args(["-o", "Acquire::Retries=3", "-o", "Dpkg::Use-Pty=0"]);
    command
}

/// `apt-get install` before the names of the packages.
fn installation() -> Command {
    let mut install = apt();
    install.args(["install", "--yes", "--no-remove", "--no-install-recommends"]);
    install
}

/// Whether apt's lists contain all of these packages.
fn offered(packages: &[String]) -> bool {
    let policy = shell::read(Command::new("apt-cache").arg("policy").args(packages).env("LC_ALL", "C"));
    let candidate = |line: &&str| line.contains("Candidate: ") && !line.contains("(none)");
    policy.is_some_and(|text| text.lines().filter(candidate).count() == packages.len())
}
