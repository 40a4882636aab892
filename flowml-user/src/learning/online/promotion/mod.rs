//! The model in use, and a candidate model that must pass a trial before it is promoted.
//!
//! A model that was trained on other traffic, or long ago, is better than no model. It is worse than a model of the
//! present local traffic. So a candidate is trained if the model in use is of other traffic, or if traffic has changed.
//! Its warm-up uses the rows that the model in use does not find unusual. Then, in a trial, both score the same rows.
//! The candidate is promoted if its probabilities hold on unsuspicious rows, and if it detects the anomalies of
//! incidents again. Fewer alarms are no argument for it, because a model that was trained on an attack raises none.

mod candidate;
mod drift;
mod event;
mod offer;
#[cfg(test)]
mod tests;
mod trial;

use flowml_common::flow::Address;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

pub(crate) use self::event::ModelEvent;
pub use self::offer::FleetState;

use self::candidate::Candidate;
use self::drift::Drift;
use self::offer::Offer;
use super::learner::Learner;
use super::local::Local;
use super::settings::Settings;
use super::verdict::{ClusterSummary, Eligibility, Status, Verdict};
use crate::features::Column;
use crate::learning::statistics::{Gathered, ModelIdentity};

/// The model in use and its candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Promotion {
    acting: Learner,
    /// For a model of other traffic: whether its probabilities hold for local traffic.
    local: Option<Local>,
    candidate: Option<Candidate>,
    /// The newest model of the fleet that was offered.
    #[serde(default)]
    offer: Option<Offer>,
    drift: Drift,
    events: Vec<ModelEvent>,
    /// Whether training is disabled.
    held: bool,
    /// Whether statistics of rows are gathered.
    #[serde(skip)]
    gathers: bool,
    /// The statistics of models that are no longer in use.
    #[serde(skip)]
    gathered: Vec<Gathered>,
}

impl Promotion {
    /// A learner without a model, or one that continues with what it learnt from local traffic.
    #[must_use]
    pub(crate) fn of(acting: Learner) -> Self {
        Self {
            acting,
            local: None,
            candidate: None,
            offer: None,
            drift: Drift::default(),
            events: Vec::new(),
            held: false,
            gathers: false,
            gathered: Vec::new(),
        }
    }

    /// A learner with a model of other traffic. A candidate with these settings is trained from the start.
    #[must_use]
    pub(crate) fn of_other_traffic(acting: Learner, settings: Settings) -> Self {
        let candidate = Some(Candidate::new(acting.candidate(settings)));
        let local = Some(Local::new(acting.settings()));
        Self { local, candidate, events: vec![ModelEvent::Withheld], ..Self::of(acting) }
    }

    /// Makes models on a separate thread from now on ([`Learner::learn_beside`]).
    pub(crate) fn learn_beside(&mut self) {
        self.acting.learn_beside();
        if let Some(candidate) = &mut self.candidate {
            candidate.learner.learn_beside();
        }
    }

    /// Sets whether anomalies have reasons.
    pub(crate) fn give_reasons(&mut self, give: bool) {
        self.acting.give_reasons(give);
        self.candidates().for_each(|candidate| candidate.learner.give_reasons(give));
    }

    /// Stops all training. Rows are scored with the present model from now on.
    pub(crate) fn hold(&mut self) {
        self.held = true;
        (self.candidate, self.local, self.offer) = (None, None, None);
        self.events.clear();
    }

    /// Scores rows with the model in use and trains, as [`Learner::observe`]. `eligibility` states for each row whether it
    /// is eligible for training, and `hosts` has the host of each row.
    ///
    /// # Panics
    /// If `eligibility` or `hosts` does not have one element for each row.
    pub fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        eligibility: &[Eligibility],
        hosts: &[Address],
    ) -> Vec<Option<Verdict>> {
        assert_eq!(
            [rows.nrows(); 2],
            [eligibility.len(), hosts.len()],
            "each row has a host, and is trained on or not"
        );
        if self.held {
            return self.acting.judge(rows);
        }
        let mut verdicts = self.acting.observe_choosing(rows, |row| eligibility[row]);
        if let Some(candidate) = &mut self.candidate {
            self.events.extend(candidate.observe(rows, eligibility, &verdicts));
            if let Some(outcome) = candidate.outcome() {
                self.end_trial(outcome);
            }
        } else if let Some(part) = self.drift.observe(&verdicts) {
            self.events.push(ModelEvent::Drift { part });
            self.begin_candidate();
        }
        if let Some((event, passed)) = self.offer.as_mut().and_then(|offer| offer.observe(rows, eligibility, &verdicts))
        {
            self.events.push(event);
            if let Some(learner) = passed {
                self.candidate = None;
                self.promote(learner);
            }
        }
        if let Some(local) = &mut self.local
            && local.check(&mut verdicts, eligibility, hosts, self.acting.settings())
        {
            self.events.push(ModelEvent::Holds);
        }
        verdicts
    }

    fn begin_candidate(&mut self) {
        // The training rows of the model in use may have been known to be normal, but those of a new candidate are not.
        // A candidate that replaces a model of local traffic must also have seen more than an attack of minutes.
        let Settings { warm_up_rows, trusted, .. } = Settings::default();
        let settings = self.acting.settings().clone().unhurried();
        let settings = Settings { warm_up_rows, trusted, suspect_batches: 4 * settings.warm_up_batches, ..settings };
        self.candidate = Some(Candidate::new(self.acting.candidate(settings)));
        self.drift = Drift::default();
    }

    fn end_trial(&mut self, outcome: ModelEvent) {
        let candidate = self.candidate.take();
        match (&outcome, candidate) {
            (ModelEvent::Promoted(_), Some(candidate)) => self.promote(candidate.learner),
            _ => self.begin_candidate(),
        }
        self.events.push(outcome);
    }

    /// Tries a model of the fleet beside the model in use. A model that was offered before is tried again only if it was
    /// refused or replaced, and `again` requests it.
    pub(crate) fn offer(&mut self, mut learner: Learner, again: bool) {
        let Some(&model) = learner.fixed() else { return };
        if self.acting.fixed() == Some(&model) {
            self.offer = Some(Offer::in_use(model));
            return;
        }
        let is_known =
            self.offer.as_ref().is_some_and(|offer| offer.model == model && (offer.candidate.is_some() || !again));
        if !is_known {
            learner.continue_for(&self.acting);
            self.offer = Some(Offer::trial(model, learner));
            self.events.push(ModelEvent::FleetTrial(model));
        }
    }

    /// Notes that a model of the fleet cannot be tried, unless another one is being tried.
    pub(crate) fn refuse(&mut self, model: ModelIdentity) {
        if self.offer.as_ref().is_none_or(|offer| offer.candidate.is_none()) {
            self.offer = Some(Offer::refused(model));
        }
    }

    /// The newest model of the fleet that was offered, and what became of it.
    #[must_use]
    pub(crate) fn offered(&self) -> Option<(ModelIdentity, FleetState)> {
        self.offer.as_ref().map(|offer| (offer.model, offer.state(self.acting.fixed())))
    }

    /// The candidates.
    fn candidates(&mut self) -> impl Iterator<Item = &mut Candidate> {
        let offered = self.offer.as_mut().and_then(|offer| offer.candidate.as_mut());
        self.candidate.iter_mut().chain(offered)
    }

    /// Uses this learner from now on.
    fn promote(&mut self, learner: Learner) {
        self.gathered.extend(self.acting.take_statistics());
        (self.acting, self.local) = (learner, None);
        if self.gathers {
            self.acting.gather();
        }
    }

    /// Gathers the statistics of rows from now on. The clusters of the model in use stay as they are then; they are those
    /// of `model`.
    pub(crate) fn gather(&mut self, model: Option<ModelIdentity>) {
        self.gathers = true;
        if let Some(model) = model {
            self.acting.fix(model);
        }
        self.acting.gather();
    }

    /// The statistics of the rows since the last call.
    pub(crate) fn take_statistics(&mut self) -> Vec<Gathered> {
        let mut taken = std::mem::take(&mut self.gathered);
        taken.extend(self.acting.take_statistics());
        taken
    }

    /// The events that were not reported yet.
    pub(crate) fn events(&mut self) -> Vec<ModelEvent> {
        std::mem::take(&mut self.events)
    }

    /// Sets the probability below which rows are anomalies, for the candidate too.
    pub(crate) fn set_alpha(&mut self, alpha: f64) {
        self.acting.set_alpha(alpha);
        self.candidates().for_each(|candidate| candidate.learner.set_alpha(alpha));
    }

    /// As [`Learner::pass`].
    pub(crate) fn pass(&mut self, batches: u64) {
        self.acting.pass(batches);
        if let Some(local) = &mut self.local {
            local.pass(batches);
        }
        self.candidates().for_each(|candidate| candidate.learner.pass(batches));
    }

    /// Gives learners that were read the columns that they were written with.
    ///
    /// # Errors
    /// If the learners do not fit the columns.
    pub(crate) fn fit_to(&mut self, columns: &[Column]) -> Result<(), String> {
        self.acting.fit_to(columns)?;
        self.candidates().try_for_each(|candidate| candidate.learner.fit_to(columns))
    }

    /// The learner with the model in use.
    #[must_use]
    pub fn acting(&self) -> &Learner {
        &self.acting
    }

    /// The learner with the model in use, alone.
    #[must_use]
    pub(crate) fn into_acting(self) -> Learner {
        self.acting
    }

    /// The learner with the model in use, for changes.
    pub fn acting_mut(&mut self) -> &mut Learner {
        &mut self.acting
    }

    /// The progress of the learner in use.
    #[must_use]
    pub(crate) fn status(&self) -> Status {
        self.acting.status()
    }

    /// The progress of the candidate, if there is one.
    #[must_use]
    pub(crate) fn candidate_status(&self) -> Option<Status> {
        self.candidate.as_ref().map(|candidate| candidate.learner.status())
    }

    /// The clusters of the model in use.
    #[must_use]
    pub(crate) fn clusters(&self) -> Vec<ClusterSummary> {
        self.acting.clusters()
    }
}
