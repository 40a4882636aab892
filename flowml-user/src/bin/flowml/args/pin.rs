//! The arguments of `flowml unpin`.

use std::path::PathBuf;

use clap::Args;

pub(super) const UNPIN_HELP: &str = "\
Detaches the programs that 'flowml run --pin DIR' left attached, frees their maps, and prints the number of \
counted packets that no agent has read. First stop the agent that runs with DIR.";

pub(super) const UNPIN_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml unpin /sys/fs/bpf/flowml

",
    exit_codes!()
);

/// The arguments of `flowml unpin`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Unpin {
    /// Folder of '--pin'
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
