//! `cargo xtask soak`: runs the agent for a long time under traffic, attacks and faults, in network namespaces.

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{demo, shell};

/// Run the agent for a long time under normal traffic, attacks and faults of everything that it depends on. Every check
/// accounts for every packet, and reports what was lost and what grew. The exit code is 1 if anything was lost or grew.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder for the measurements and the chart [default: target/soak]
    folder: Option<PathBuf>,
    /// Duration: a whole number and a unit (s, m, h, d), at least 15s
    #[arg(long = "for", value_name = "LENGTH", default_value = "30m")]
    length: String,
    /// Seed of the schedule and all other random choices
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut soak = demo::program(workspace, "soak", &[])?;
    soak.arg(arguments.folder.clone().unwrap_or_else(|| workspace.soak()));
    Err(shell::become_command(soak.arg(&arguments.length).arg(arguments.seed.to_string())))
}
