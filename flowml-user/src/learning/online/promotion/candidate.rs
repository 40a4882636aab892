//! A candidate model: a learner in its warm-up, and then in its trial.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::event::ModelEvent;
use super::trial::Trial;
use crate::learning::online::learner::Learner;
use crate::learning::online::verdict::{Eligibility, Verdict};

/// Number of batches of a trial.
const TRIAL_BATCHES: u32 = 30;

/// The smallest number of rows of a trial.
const TRIAL_ROWS: u64 = 300;

/// A candidate: a learner in its warm-up or trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Candidate {
    pub(super) learner: Learner,
    /// Whether the candidate trains on rows that are unusual to the model in use, because most rows are unusual.
    learns_unusual: bool,
    /// Number of batches in the trial.
    batches: u32,
    trial: Trial,
    /// Whether a suspicious baseline was reported.
    reported: bool,
}

impl Candidate {
    pub(super) fn new(learner: Learner) -> Self {
        Self { learner, learns_unusual: false, batches: 0, trial: Trial::default(), reported: false }
    }

    /// A candidate that was trained elsewhere. Rows that are unusual to the model in use count in its trial too, because
    /// that model had no influence on its training.
    pub(super) fn offered(learner: Learner) -> Self {
        Self { learns_unusual: true, ..Self::new(learner) }
    }

    /// Adds a batch with the verdicts of the model in use.
    pub(super) fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        eligibility: &[Eligibility],
        acting: &[Option<Verdict>],
    ) -> Option<ModelEvent> {
        let is_unusual = |row: usize| acting[row].as_ref().is_some_and(Verdict::is_unusual);
        let trains = |row: usize| match eligibility[row] {
            Eligibility::Welcome if is_unusual(row) => Eligibility::Unusual,
            other => other,
        };
        let in_warm_up = self.learner.fitted().is_none();
        if in_warm_up {
            self.learns_unusual = self.learner.is_mostly_unusual();
        }
        // In its trial, the candidate decides by its own probabilities which rows are unusual.
        let own = self.learner.observe_choosing(rows, |row| if in_warm_up { trains(row) } else { eligibility[row] });
        if own.iter().any(Option::is_some) {
            self.batches += 1;
            for (row, verdict) in own.iter().enumerate().filter_map(|(row, own)| Some((row, own.as_ref()?))) {
                self.trial.add(trains(row), self.learns_unusual, verdict, acting[row].as_ref());
            }
        }
        let part = self.learner.overdue().filter(|_| !self.reported)?;
        self.reported = true;
        Some(ModelEvent::Suspicious { part })
    }

    /// The result of the trial, if it is over.
    pub(super) fn outcome(&self) -> Option<ModelEvent> {
        let trial = self.trial;
        let over = self.batches >= TRIAL_BATCHES && trial.rows >= TRIAL_ROWS;
        let passed = || trial.is_passed(self.learner.settings().alpha);
        over.then(|| if passed() { ModelEvent::Promoted(trial) } else { ModelEvent::Failed(trial) })
    }
}
