//! The arguments of `flowml unpin`.

use std::path::PathBuf;

use clap::Args;

pub(super) const UNPIN_HELP: &str = "\
Detaches the programs that 'flowml run --pin DIR' left attached, frees their maps, and says how many packets these had \
counted that no agent has read. An agent that runs with DIR must be stopped before.";

pub(super) const UNPIN_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml unpin /sys/fs/bpf/flowml

",
    exit_codes!()
);

/// The arguments of `flowml unpin`.
#[derive(Args, Clone, Debug)]
pub struct Unpin {
    /// What '--pin' was given
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}
