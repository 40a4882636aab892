//! `cargo xtask demo`: the agent at work on traffic and attacks made in a laboratory of network namespaces.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Need};
use crate::workspace::{Profile, Workspace};
use crate::{build, shell};

/// Show the agent at work on ordinary traffic and a few attacks, in network namespaces of its own.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What the demo is given, after `--`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    Err(shell::become_command(program(workspace, "demo", &[])?.args(&arguments.arguments)))
}

/// A program of the laboratory, with all that it works on built; `further` is what it needs besides traffic.
pub(crate) fn program(workspace: &Workspace, name: &str, further: &[Need]) -> Result<Command> {
    setup::require_root(&format!("cargo xtask {name}"))?;
    setup::ensure(workspace, &[&[Need::Kernel, Need::Traffic], further].concat())?;
    build::agent(workspace, Profile::Release)?;
    shell::run(workspace.cargo("build").args(["--release", "--package", "flowml-tests", "--bin", name]))?;
    let mut program = Command::new(workspace.binary(Profile::Release, name));
    workspace.announce(Profile::Release, &mut program);
    Ok(program)
}
