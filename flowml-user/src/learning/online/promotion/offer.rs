//! A model of the fleet that is offered to an agent: its trial beside the model in use, and what became of it.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::event::ModelEvent;
use crate::learning::online::learner::Learner;
use crate::learning::online::verdict::{Eligibility, Verdict};
use crate::learning::statistics::ModelIdentity;

/// What became of a model of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FleetState {
    /// It is tried beside the model in use.
    Trial,
    /// It is in use.
    InUse,
    /// It has failed its trial, or its file cannot be used.
    Refused,
    /// It was in use, and another model was promoted later.
    Replaced,
}

impl FleetState {
    /// The number in metrics.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Trial => 1,
            Self::InUse => 2,
            Self::Refused => 3,
            Self::Replaced => 4,
        }
    }
}

/// The newest model of the fleet that was offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) model: ModelIdentity,
    /// The candidate, while it is tried.
    pub(super) candidate: Option<Candidate>,
    is_refused: bool,
}

impl Offer {
    /// A model that is already in use.
    pub(super) const fn in_use(model: ModelIdentity) -> Self {
        Self { model, candidate: None, is_refused: false }
    }

    /// A model that cannot be tried.
    pub(super) fn refused(model: ModelIdentity) -> Self {
        Self { is_refused: true, ..Self::in_use(model) }
    }

    /// A trial of this learner.
    pub(super) fn trial(model: ModelIdentity, learner: Learner) -> Self {
        Self { candidate: Some(Candidate::offered(learner)), ..Self::in_use(model) }
    }

    /// What became of the model, where the model in use has the clusters of `acting`.
    pub(super) fn state(&self, acting: Option<&ModelIdentity>) -> FleetState {
        match acting {
            _ if self.candidate.is_some() => FleetState::Trial,
            Some(model) if *model == self.model => FleetState::InUse,
            _ if self.is_refused => FleetState::Refused,
            _ => FleetState::Replaced,
        }
    }

    /// Adds a batch with the verdicts of the model in use. At the end of the trial it returns the result, and the learner
    /// if it has passed.
    pub(super) fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        eligibility: &[Eligibility],
        acting: &[Option<Verdict>],
    ) -> Option<(ModelEvent, Option<Learner>)> {
        let candidate = self.candidate.as_mut()?;
        candidate.observe(rows, eligibility, acting);
        match candidate.outcome()? {
            ModelEvent::Promoted(trial) => {
                let learner = self.candidate.take().map(|candidate| candidate.learner);
                Some((ModelEvent::FleetPromoted(self.model, trial), learner))
            }
            ModelEvent::Failed(trial) => {
                (self.candidate, self.is_refused) = (None, true);
                Some((ModelEvent::FleetRefused(self.model, trial), None))
            }
            _ => None,
        }
    }
}
