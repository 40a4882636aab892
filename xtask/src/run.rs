//! `cargo xtask run`: builds the agent and replaces itself by `flowml run`.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::workspace::{Profile, Workspace};
use crate::{build, shell};

/// Build the agent and run `flowml run ARGUMENTS`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of `flowml run`, after `--`.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    build::agent(workspace, Profile::Release)?;
    let mut agent = Command::new(workspace.binary(Profile::Release, "flowml"));
    Err(shell::become_command(agent.arg("run").args(&arguments.arguments)))
}
