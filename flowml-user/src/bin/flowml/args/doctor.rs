//! The arguments of `flowml doctor`.

use std::path::PathBuf;

use clap::Args;
use flowml_user::capture::selection::Selector;

use super::values::json_path;

pub(super) const DOCTOR_HELP: &str = "\
Checks this host and its interfaces: kernel, capabilities, memory; driver, XDP, MTU, offloads, queues, and other programs \
that are attached. Prints the problems that prevent 'flowml run' or make its counts incomplete, and the command that fixes each.

It attaches nothing and changes nothing. With the necessary capabilities, it loads the kernel programs and unloads them \
again, to find out whether this kernel accepts them.";

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  flowml doctor                          the interface of the default route
  flowml doctor -i eth0 -i eth1
  flowml doctor -o json=- | jq '.findings[] | select(.fix)'

Exit codes: 0 'flowml run' works, 1 it does not, 2 wrong usage.";

/// The arguments of `flowml doctor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Doctor {
    /// Interface to check, may be repeated: a name, a pattern as in 'veth*', or 'any' [default: the interface of the
    /// default route]
    #[arg(short, long = "interface", value_name = "IFACE")]
    pub(crate) interfaces: Vec<Selector>,

    /// Also check whether '--pin DIR' works, and report the objects that are pinned there
    #[arg(long, value_name = "DIR")]
    pub(crate) pin: Option<PathBuf>,

    /// Write the findings as JSON: json=PATH; with json=- the JSON replaces the text on standard output
    #[arg(short, long, value_name = "json=PATH", value_parser = json_path)]
    pub(crate) output: Option<PathBuf>,
}
