//! The arguments of `flowml feedback`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::SandboxArguments;
use crate::model::Opinion;

pub(super) const FEEDBACK_HELP: &str = "\
Marks the host windows of an incident in a model of traffic. What is marked as benign, and less of the like, is no anomaly \
any more; what is marked as an attack, and more of the like, is one whenever its probability is below 0.1, and is never \
learnt. A successor that learns beside the model takes the marks over.

A run that uses the model reads it again at SIGHUP; send that at once, as the run saves its own every ten minutes.";

pub(super) const FEEDBACK_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml feedback run.jsonl --incident 3 --benign --model office.json      the nightly backup
  flowml feedback records/ --incident 7 --attack --model office.json

",
    exit_codes!()
);

/// The arguments of `flowml feedback`.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("opinion").required(true))]
pub struct Feedback {
    /// What the run wrote: JSON lines, or the folder of '-o parquet=DIR'
    #[arg(value_name = "RECORDS")]
    pub records: PathBuf,

    /// Number of the incident in it
    #[arg(long, value_name = "N")]
    pub incident: u64,

    /// It was nothing
    #[arg(long, group = "opinion")]
    benign: bool,

    /// It was an attack
    #[arg(long, group = "opinion")]
    attack: bool,

    /// Whether the command is confined.
    #[command(flatten)]
    pub sandbox: SandboxArguments,

    /// The model that is to know of it
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
}

impl Feedback {
    /// What the operator takes the incident for.
    #[must_use]
    pub const fn opinion(&self) -> Opinion {
        if self.benign { Opinion::Benign } else { Opinion::Attack }
    }
}
