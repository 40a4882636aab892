//! `cargo xtask lint`: checks formatting, compiler and rustdoc warnings, the kernel programs, and rules for sources.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Warnings};
use crate::setup::{self, Need};
use crate::workspace::Workspace;
use crate::{rules, shell};

pub(crate) fn task(workspace: &Workspace) -> Result<()> {
    setup::ensure(workspace, &[Need::Lint, Need::Kernel])?;
    sources(workspace)?;
    shell::run(workspace.cargo("fmt").args(["--all", "--check"]))?;
    build::kernel(workspace, Warnings::Denied)?;
    // The workspace's default members are those that compile for the host.
    shell::run(workspace.cargo("clippy").args(["--all-targets", "--", "-Dwarnings"]))?;
    // Only the library of the kernel programs compiles for the host.
    let kernel = ["--package", "flowml-ebpf", "--lib", "--", "-Dwarnings"];
    shell::run(workspace.cargo("clippy").args(kernel))?;
    let mut documentation = workspace.cargo("doc");
    shell::run(documentation.args(["--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-Dwarnings"))?;
    dependencies(workspace)
}

fn sources(workspace: &Workspace) -> Result<()> {
    let violations = rules::check(workspace.root())?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        bail!("the sources break {} rules", violations.len());
    }
    Ok(())
}

/// Checks licences, versions and sources of the dependencies against deny.toml. Advisories are not checked: they change
/// without the sources, and need the network (`cargo deny check advisories`).
fn dependencies(workspace: &Workspace) -> Result<()> {
    let program = setup::cargo_deny(workspace).context("cargo-deny is missing: type `cargo xtask setup`")?;
    shell::run(Command::new(program).args(["check", "bans", "licenses", "sources"]).current_dir(workspace.root()))
}
