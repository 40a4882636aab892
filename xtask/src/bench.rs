//! `cargo xtask bench`: runs the measurements of BENCHMARKS.md.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::setup::Need;
use crate::workspace::Workspace;
use crate::{demo, shell};

/// Measure, as ratios: the flow table and the drain against the kernel's own maps, `flowml read` against other readers,
/// learning against scikit-learn, and the flow path and the memory against their goals.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write the ratios to this file.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Arguments of the measuring program, after `--`: parts (table, read, learn, live, path, memory, fleet), and `--once` for one
    /// round with the smallest counts.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let mut bench = demo::program(workspace, "bench", &[Need::Peers, Need::Readers, Need::Engines])?;
    if let Some(path) = &arguments.json {
        bench.arg("--json").arg(path);
    }
    Err(shell::become_command(bench.args(&arguments.arguments)))
}
