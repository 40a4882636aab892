//! A learner after its warm-up: scores rows, and trains on those that are normal.

use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use super::feedback_labels::{FeedbackClass, Likeness};
use super::fitted::{Fitted, Scored, Scratch};
use super::reason::Typical;
use super::settings::Settings;
use super::training::Training;
use super::verdict::Verdict;
use crate::features::Column;
use crate::learning::cluster::kmeans::Nearest;

/// The state after the warm-up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) fitted: Fitted,
    /// The feedback labels, scaled by this model.
    pub(super) likeness: Likeness,
}

impl Ready {
    /// Scores the rows of a batch, all with the same state of the model. Then trains on those of them that are in
    /// `learnt`, in ascending order.
    pub(super) fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        learnt: &[usize],
        mut training: Training<'_>,
        columns: &[Column],
        settings: &Settings,
        most_reasons: usize,
    ) -> Vec<Option<Verdict>> {
        // Typical values follow each row. Reasons have those from before the batch.
        let typical = self.fitted.typical.clone();
        let mut scratch = Scratch::default();
        let mut learnt = learnt.iter().peekable();
        let verdict = |(number, row)| {
            let (verdict, nearest) = self.judge(row, &typical, columns, most_reasons, &mut scratch);
            let probability = verdict.probability;
            // An anomaly with a high probability is an anomaly because of a feedback label.
            let is_eligible = !verdict.anomaly || self.fitted.calibration.is_anomaly(probability);
            if learnt.next_if_eq(&&number).is_some() && is_eligible {
                let scored = Scored { nearest, probability, vector: &scratch.vector };
                self.fitted.learn(&mut training, &scored, settings);
            }
            Some(verdict)
        };
        let verdicts = rows.outer_iter().enumerate().map(verdict).collect();
        self.fitted.end_batch(training, settings);
        verdicts
    }

    /// Scores one row. An anomaly gets at most `most_reasons` reasons, which name values of `typical`. The scaled row is
    /// in `scratch` afterwards.
    pub(super) fn judge(
        &self,
        row: ArrayView1<'_, f64>,
        typical: &Typical,
        columns: &[Column],
        most_reasons: usize,
        scratch: &mut Scratch,
    ) -> (Verdict, Nearest) {
        let Self { fitted, likeness } = self;
        let nearest = fitted.score(row, scratch);
        let probability = fitted.calibration.probability(nearest.score);
        let class = likeness.of(&scratch.vector, probability);
        let anomaly = match class {
            Some(FeedbackClass::Benign) => false,
            Some(FeedbackClass::Attack) => true,
            None => fitted.calibration.is_anomaly(probability),
        };
        let reasons = match anomaly && most_reasons > 0 {
            true => fitted.explain(columns, typical).reasons(row, &scratch.vector, nearest.cluster, most_reasons),
            false => Vec::new(),
        };
        let (cluster, score) = (nearest.cluster as u32, nearest.score);
        (Verdict { cluster, score, probability, anomaly, withheld: false, class, reasons }, nearest)
    }
}
