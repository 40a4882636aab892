//! The parameters of the learner of a run.

use serde::{Deserialize, Serialize};

use crate::learning::calibration::probability::MOST_SCORES;
use crate::learning::checked::{Checked, Outcome, SHARES, amount, checked, holds, within};
use crate::learning::preprocess::Below;

/// The parameters of learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Settings {
    /// Seed of random choices. The same rows and seed give the same verdicts.
    pub seed: u64,
    /// A row whose probability is below this is an anomaly. It is the rate of false alarms per row.
    pub alpha: f64,
    /// The number of clusters; `None` lets the silhouette choose from 16 to 24.
    pub clusters: Option<usize>,
    /// The warm-up needs at least this many rows.
    pub warm_up_rows: usize,
    /// The warm-up needs at least this many batches (drains, so seconds at the default interval).
    pub warm_up_batches: u32,
    /// The number of batches instead, if most rows are unusual to a model in use, because an attack may end.
    pub suspect_batches: u32,
    /// The first batches of the warm-up that are not trained on.
    pub settling_batches: u32,
    /// The fraction of warm-up rows that are left out of the clusters. These are the farthest rows, which may contain
    /// an attack.
    pub trim: f64,
    /// Whether the warm-up rows are known to be normal. Then none is left out, however unusual or short-lived.
    pub trusted: bool,
    /// A row whose probability is below this does not move the clusters.
    pub margin: f64,
    /// After this many batches the weight of a row has halved.
    pub half_life_batches: f64,
    /// The largest fraction of the way to a batch's mean by which one batch moves a centroid.
    pub step: f64,
    /// The largest number of rows of a batch that are trained on, chosen at random. All rows are scored.
    pub learnt_rows_per_batch: usize,
    /// The number of recent scores on which the probability is based.
    pub calibration_scores: usize,
    /// The weights of values that are lower than typical.
    pub below: Below,
    /// The largest number of reasons of an anomaly.
    pub reasons: usize,
}

checked!(Settings);

impl Checked for Settings {
    const NAME: &str = "settings";

    fn check(&self) -> Outcome {
        holds(self.clusters != Some(0), "expected at least one of 'clusters'")?;
        for (name, share) in [("alpha", self.alpha), ("trim", self.trim), ("margin", self.margin), ("step", self.step)]
        {
            within(name, share, SHARES)?;
        }
        within("half_life_batches", self.half_life_batches, amount())?;
        within("calibration_scores", self.calibration_scores as f64, 1.0..=MOST_SCORES as f64)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            alpha: 1e-4,
            clusters: None,
            warm_up_rows: 300,
            warm_up_batches: 30,
            suspect_batches: 120,
            settling_batches: 0,
            trim: 0.02,
            trusted: false,
            margin: 0.01,
            half_life_batches: 600.0,
            step: 0.1,
            learnt_rows_per_batch: 1024,
            calibration_scores: 4096,
            below: Below::EVEN,
            reasons: 4,
        }
    }
}

impl Settings {
    /// Sets the warm-up to the half-life of a row. After a shorter warm-up, a model has seen too little rare behaviour,
    /// and its probabilities are too large for an anomaly.
    #[must_use]
    pub(crate) fn unhurried(self) -> Self {
        Self { warm_up_batches: self.half_life_batches as u32, ..self }
    }
}
