//! `cargo xtask soak`: the agent for a long time under mixed traffic, attacks and faults, in a laboratory of network namespaces.

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{demo, shell};

/// Run the agent for long under ordinary traffic, attacks and faults of all that it depends on; account for every packet at each
/// check, and say what was lost and what grew. The exit code is 1 if anything was.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the measurements and the picture go [default: target/soak]
    folder: Option<PathBuf>,
    /// For how long: a whole number and its unit (s, m, h, d), 15s at the least
    #[arg(long = "for", value_name = "LENGTH", default_value = "30m")]
    length: String,
    /// For the schedule and everything else that is random
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut soak = demo::program(workspace, "soak", &[])?;
    soak.arg(arguments.folder.clone().unwrap_or_else(|| workspace.soak()));
    Err(shell::become_command(soak.arg(&arguments.length).arg(arguments.seed.to_string())))
}
