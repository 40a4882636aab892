//! The arguments of the rows that `flowml run` and `flowml read` make of packets.

use clap::Args;

use super::alarms::AlarmArguments;
use super::content::ContentArguments;

/// The arguments that decide what rows contain: the alarm level, the seed and the payload.
#[derive(Args, Clone, Debug)]
pub(crate) struct RowArguments {
    /// The alarm level.
    #[command(flatten)]
    pub(crate) alarms: AlarmArguments,

    /// Seed of all random choices: the same seed and records give the same clusters and scores [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) seed: u64,

    /// The payload options.
    #[command(flatten)]
    pub(crate) content: ContentArguments,
}
