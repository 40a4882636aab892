//! `cargo xtask dist`: makes the files for distribution: a static agent, a Debian package, the files of a container.

mod debian;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::setup::{self, Need};
use crate::shell;
use crate::workspace::{Profile, Workspace};

/// Build a static agent, and from it a Debian package and the files of a container.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Use this agent instead of a static release build.
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Folder for the files; it is replaced [default: target/dist]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::ensure(workspace, &[Need::Package])?;
    let folder = arguments.output.clone().unwrap_or_else(|| workspace.dist());
    let built = match &arguments.agent {
        Some(agent) => agent.clone(),
        None => static_agent(workspace)?,
    };
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let agent = folder.join("flowml");
    place(&built, &agent, 0o755)?;
    // Function names stay: the backtrace of a panic needs them.
    shell::run(Command::new("strip").arg("--strip-debug").arg(&agent))?;
    // Man pages and completions are generated from the agent's definition of its command line.
    let pages = folder.join("pages");
    shell::run(Command::new(&agent).arg("pages").arg(&pages))?;
    let containerfile = folder.join("Containerfile");
    place(&workspace.packaging().join("Containerfile"), &containerfile, 0o644)?;
    let package = debian::package(workspace, &folder, &agent, &pages)?;
    for made in [&agent, &package, &containerfile] {
        let bytes = made.metadata().with_context(|| format!("{}: expected to be made", made.display()))?.len();
        println!("{} ({} KiB)", made.display(), bytes.div_ceil(1024));
    }
    Ok(())
}

/// Builds an agent that needs no shared library.
fn static_agent(workspace: &Workspace) -> Result<PathBuf> {
    setup::ensure(workspace, &[Need::Static])?;
    build::agent(workspace, Profile::Static)?;
    let agent = workspace.binary(Profile::Static, "flowml");
    if !is_static(&agent)? {
        bail!("{}: expected an agent without an interpreter", agent.display());
    }
    Ok(agent)
}

/// Whether the file is statically linked: ELF64 (elf(5)) without a program header of type PT_INTERP.
fn is_static(path: &Path) -> Result<bool> {
    const INTERPRETER: u32 = 3;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let number = |at: usize, length: usize| {
        let part = bytes.get(at..at + length)?;
        Some(part.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte)))
    };
    let headers = || {
        let (offset, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|n| number(usize::try_from(offset + n * size).ok()?, 4)).collect::<Option<Vec<_>>>()
    };
    let headers = headers().filter(|headers| bytes.starts_with(b"\x7fELF\x02\x01") && !headers.is_empty());
    let headers = headers.with_context(|| format!("{}: expected a program in ELF64", path.display()))?;
    Ok(!headers.contains(&u64::from(INTERPRETER)))
}

/// Copies a file and sets its permissions.
fn place(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes, mode)
}

fn write(to: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let written = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(to, bytes));
    let written = written.and_then(|()| fs::set_permissions(to, fs::Permissions::from_mode(mode)));
    written.with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_an_interpreter_is_not_static() {
        let own = std::env::current_exe().expect("this test");
        assert!(!is_static(&own).expect("a program"));
        assert!(is_static(Path::new(file!())).is_err() && is_static(Path::new("/no/such/file")).is_err());
    }
}
