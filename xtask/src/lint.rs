//! `cargo xtask lint`: checks formatting, compiler and rustdoc warnings, the kernel programs, and rules for sources.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

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
    library(workspace)?;
    // Only the library of the kernel programs compiles for the host.
    let kernel = ["--package", "flowml-ebpf", "--lib", "--", "-Dwarnings"];
    shell::run(workspace.cargo("clippy").args(kernel))?;
    let mut documentation = workspace.cargo("doc");
    shell::run(documentation.args(["--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-Dwarnings"))?;
    dependencies(workspace)
}

/// Dependencies of the agent that its library must not have: those of the binary and of live metering.
const NOT_OF_LIBRARY: &[&str] = &[
    "aya",
    "clap",
    "clap_complete",
    "clap_mangen",
    "crossterm",
    "http-body-util",
    "hyper",
    "hyper-util",
    "indicatif",
    "landlock",
    "maud",
    "plotters",
    "prometheus-client",
    "ratatui",
    "rskafka",
    "rtnetlink",
    "rustls",
    "rustls-native-certs",
    "seccompiler",
    "signal-hook",
    "terminal_size",
    "tokio",
    "ureq",
];

/// Checks that the library compiles without the features of the binary and of live metering, and without their
/// dependencies.
fn library(workspace: &Workspace) -> Result<()> {
    let alone = ["--package", "flowml-user", "--no-default-features"];
    shell::run(workspace.cargo("clippy").args(alone).args(["--lib", "--", "-Dwarnings"]))?;
    let mut tree = workspace.cargo("tree");
    tree.args(alone).args(["--edges", "normal", "--depth", "1", "--prefix", "none", "--format", "{p}"]);
    let listed = shell::read(&mut tree).with_context(|| format!("cannot run `{}`", shell::words(&tree)))?;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    let wrong: Vec<&str> = NOT_OF_LIBRARY.iter().copied().filter(|name| names.contains(name)).collect();
    ensure!(wrong.is_empty(), "the library without features depends on {}", wrong.join(", "));
    Ok(())
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
    let program = setup::cargo_deny(workspace).context("cargo-deny is missing: run `cargo xtask setup`")?;
    shell::run(Command::new(program).args(["check", "bans", "licenses", "sources"]).current_dir(workspace.root()))
}
