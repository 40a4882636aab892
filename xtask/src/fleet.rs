//! `cargo xtask fleet`: shows a fleet of agents with broker and engine, in network namespaces.

use anyhow::Result;

use crate::setup::Need;
use crate::workspace::Workspace;
use crate::{demo, shell};

/// Show a fleet: agents in network namespaces with normal traffic send their rows to a broker, from which an engine reads them.
/// A scan and a beacon follow that no agent can see alone. Everything is removed at the end.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Number of agents, 16 to 200
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(16..=200))]
    agents: u8,
    /// Duration of normal traffic before the attacks: a whole number and a unit (s, m, h), 30s to 1h
    #[arg(long = "for", value_name = "LENGTH", default_value = "1m")]
    length: String,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut fleet = demo::program(workspace, "fleet", &[Need::Engines])?;
    Err(shell::become_command(fleet.arg(arguments.agents.to_string()).arg(&arguments.length)))
}
