//! The results of the learner of a run: verdicts on rows, summaries of clusters, and progress.

use std::fmt;

use serde::Serialize;

use super::feedback_labels::FeedbackClass;
use super::reason::{Reason, TypicalValue};

/// A row with a lower probability than this is unusual. It is the margin below which rows are not trained on.
pub(super) const UNUSUAL: f64 = 0.01;

/// Whether a row is eligible for training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eligibility {
    /// Eligible, unless it is unusual.
    #[default]
    Welcome,
    /// Unusual to the model in use. It is only eligible in the warm-up of a candidate, and only if most rows are
    /// unusual.
    Unusual,
    /// One of its hosts is in an incident. It is never eligible.
    Suspect,
    /// The batch has enough rows of its kind for training.
    Surplus,
}

/// The result for one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The cluster with the lowest score.
    pub cluster: u32,
    /// The score: `½(d/σ)² − ln π`.
    pub score: f64,
    /// The probability that a normal row has a score at least as high.
    pub probability: f64,
    /// Whether the probability is below the alarm level and holds for local traffic, or an operator labelled similar
    /// rows as an attack.
    pub anomaly: bool,
    /// Whether the row would be an anomaly if the model's probabilities were known to hold for local traffic.
    pub withheld: bool,
    /// An operator's verdict on similar rows.
    pub class: Option<FeedbackClass>,
    /// The reasons for the score, the largest first. Empty for a normal row.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether the row is unusual.
    pub(super) fn is_unusual(&self) -> bool {
        self.probability < UNUSUAL
    }
}

/// One cluster, for users.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterSummary {
    /// The number, as in [`Verdict::cluster`].
    pub id: u32,
    /// The fraction of recent rows in the cluster, 0–1.
    pub share: f64,
    /// Number of its rows, with older ones down-weighted.
    pub size: f64,
    /// The columns in which it differs most from all rows, and their typical values.
    pub typical: Vec<TypicalValue>,
}

/// The progress of a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Status {
    /// It collects rows. Nothing is scored yet.
    WarmingUp {
        /// Rows so far.
        rows: usize,
        /// Rows that are needed.
        rows_needed: usize,
        /// Batches so far.
        batches: u32,
        /// Batches that are needed.
        batches_needed: u32,
    },
    /// It scores rows.
    Ready {
        /// Number of clusters.
        clusters: usize,
        /// The number of scores on which the probability is based.
        calibration_scores: usize,
    },
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::WarmingUp { rows, rows_needed, .. } if rows < rows_needed => {
                write!(f, "warming up: {rows} of {rows_needed} rows")
            }
            Self::WarmingUp { batches, batches_needed, .. } => {
                write!(f, "warming up: {batches} of {batches_needed} intervals")
            }
            Self::Ready { clusters, calibration_scores } => {
                write!(f, "ready: {clusters} clusters, calibrated on {calibration_scores} scores")
            }
        }
    }
}
