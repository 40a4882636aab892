//! `cargo xtask demo`: shows the agent with generated traffic and attacks, in a laboratory of network namespaces.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Need};
use crate::workspace::{Profile, Workspace};
use crate::{build, shell};

/// Show the agent with normal traffic and a few attacks, in network namespaces of its own.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of the demo, after `--`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    Err(shell::become_command(program(workspace, "demo", &[])?.args(&arguments.arguments)))
}

/// The command that runs a program of the laboratory, after everything that it needs is built. `further` lists what it
/// needs besides traffic.
pub(crate) fn program(workspace: &Workspace, name: &str, further: &[Need]) -> Result<Command> {
    setup::require_root(&format!("cargo xtask {name}"))?;
    setup::ensure(workspace, &[&[Need::Kernel, Need::Traffic], further].concat())?;
    build::agent(workspace, Profile::Release)?;
    shell::run(workspace.cargo("build").args(["--release", "--package", "flowml-tests", "--bin", name]))?;
    let mut program = Command::new(workspace.binary(Profile::Release, name));
    workspace.announce(Profile::Release, &mut program);
    Ok(program)
}
