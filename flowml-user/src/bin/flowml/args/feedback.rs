//! The arguments of `flowml feedback`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use flowml_user::learning::FeedbackClass;

use super::sandbox::SandboxArguments;

pub(super) const FEEDBACK_HELP: &str = "\
Adds a feedback label for the host windows of an incident to a model of traffic. Windows like those of a benign incident, \
with the same or smaller values, are no longer anomalies. Windows like those of an attack, with the same or larger values, \
are anomalies whenever their probability is below 0.1, and are never used for training. A candidate model inherits the labels.

A run that uses the model reads it again at SIGHUP. Send SIGHUP at once: the run overwrites the file every ten minutes.";

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
#[command(group = ArgGroup::new("class").required(true))]
pub(crate) struct Feedback {
    /// Records of the run: JSON lines, or the folder of '-o parquet=DIR'
    #[arg(value_name = "RECORDS")]
    pub(crate) records: PathBuf,

    /// Number of the incident in the records
    #[arg(long, value_name = "N")]
    pub(crate) incident: u64,

    /// The incident was benign
    #[arg(long, group = "class")]
    benign: bool,

    /// The incident was an attack
    #[arg(long, group = "class")]
    attack: bool,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Model that gets the feedback label
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,
}

impl Feedback {
    /// The operator's label for the incident.
    #[must_use]
    pub(crate) const fn class(&self) -> FeedbackClass {
        if self.benign { FeedbackClass::Benign } else { FeedbackClass::Attack }
    }
}
