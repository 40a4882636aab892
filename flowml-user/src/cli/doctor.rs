//! The arguments of `flowml doctor`.

use std::path::PathBuf;

use clap::Args;

use super::learning::json_path;
use crate::capture::selection::Selector;

pub(super) const DOCTOR_HELP: &str = "\
Looks at this host and its interfaces: kernel, capabilities, memory; driver, XDP, MTU, offloads, queues, and other programs \
that are attached. Says what stands in the way of 'flowml run' or lessens what it sees, and what to type to mend it.

Nothing is attached or changed. Where the capabilities are there, the kernel programs are loaded and dropped again, which \
shows whether this kernel takes them.";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  flowml doctor                          the interface of the default route
  flowml doctor -i eth0 -i eth1
  flowml doctor -o json=- | jq '.findings[] | select(.mend)'

Exit codes: 0 'flowml run' would work, 1 it would not, 2 wrong usage.";

/// The arguments of `flowml doctor`.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// Interface to look at, may be repeated: a name, a pattern as in 'veth*', or 'any' [default: that of the default route]
    #[arg(short, long = "interface", value_name = "IFACE")]
    pub interfaces: Vec<Selector>,

    /// Look also whether '--pin DIR' would work, and what is pinned there
    #[arg(long, value_name = "DIR")]
    pub pin: Option<PathBuf>,

    /// Write the findings for programs: json=PATH; '-' is standard output, in place of the text
    #[arg(short, long, value_name = "json=PATH", value_parser = json_path)]
    pub output: Option<PathBuf>,
}
