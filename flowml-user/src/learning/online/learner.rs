//! The learning loop: from rows of feature values to clusters, scores, probabilities and reasons.
//!
//! It uses columns only and is independent of flows and hosts, so the same [`Learner`] serves both.

use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::beside::{Job, Place};
use super::feedback_labels::{FeedbackClass, FeedbackLabel, FeedbackLabels, Likeness};
use super::fitted::{Fitted, Scratch};
use super::ready::Ready;
use super::settings::Settings;
use super::training::Training;
use super::verdict::{ClusterSummary, Eligibility, Status, Verdict};
use super::warm_up::WarmUp;
use crate::features::Column;
use crate::learning::checked::{Outcome, holds};
use crate::learning::sample::sample;
use crate::learning::statistics::{Gathered, ModelIdentity, Statistics};

/// Number of columns in a cluster's summary.
const SUMMARY_COLUMNS: usize = 4;

/// Learns what normal rows look like, and scores each row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Learner {
    /// The columns are not saved. A learner that is read gets those that it was written with (`fit_to`).
    #[serde(skip)]
    columns: Vec<Column>,
    settings: Settings,
    /// Number of batches so far. With the seed it determines each batch's random choices.
    batches: u64,
    feedback_labels: FeedbackLabels,
    stage: Stage,
    /// The model whose clusters it has, if these stay as they are.
    #[serde(default)]
    fixed: Option<ModelIdentity>,
    /// The statistics of its rows since they were last taken, if they are gathered.
    #[serde(skip)]
    statistics: Option<Statistics>,
    /// The thread that makes the model at the end of the warm-up.
    #[serde(skip)]
    place: Place<Option<Fitted>>,
    /// Whether anomalies have reasons.
    gives_reasons: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Stage {
    WarmUp(WarmUp),
    Ready(Box<Ready>),
}

impl Stage {
    fn ready(fitted: Fitted, feedback_labels: &FeedbackLabels) -> Self {
        let likeness = Likeness::new(feedback_labels, &fitted);
        Self::Ready(Box::new(Ready { fitted, likeness }))
    }
}

impl Learner {
    /// A learner of rows with these columns, at the start of its warm-up.
    #[must_use]
    pub fn new(columns: Vec<Column>, settings: Settings) -> Self {
        Self {
            columns,
            settings,
            batches: 0,
            feedback_labels: FeedbackLabels::default(),
            stage: Stage::WarmUp(WarmUp::default()),
            fixed: None,
            statistics: None,
            place: Place::OnPath,
            gives_reasons: true,
        }
    }

    /// A learner that continues with a model.
    pub(crate) fn of_model(
        columns: Vec<Column>,
        settings: Settings,
        batches: u64,
        feedback_labels: FeedbackLabels,
        model: Fitted,
    ) -> Self {
        let stage = Stage::ready(model, &feedback_labels);
        Self { batches, feedback_labels, stage, ..Self::new(columns, settings) }
    }

    /// Keeps its clusters as they are from now on: they are those of `model`. Probabilities still follow the rows. A
    /// learner without a model, and one that has the clusters of another model, does not change.
    pub(crate) fn fix(&mut self, model: ModelIdentity) {
        if self.fitted().is_some() {
            self.fixed.get_or_insert(model);
        }
    }

    /// The model whose clusters it has, if these stay as they are.
    pub(crate) const fn fixed(&self) -> Option<&ModelIdentity> {
        self.fixed.as_ref()
    }

    /// Gathers the statistics of rows from now on, if its clusters stay as they are.
    pub(super) fn gather(&mut self) {
        if let (Stage::Ready(ready), Some(_), None) = (&self.stage, self.fixed, &self.statistics) {
            let clusters = &ready.fitted.clusters;
            self.statistics = Some(Statistics::new(clusters.len(), clusters.width()));
        }
    }

    /// The statistics of the rows since the last call.
    pub(super) fn take_statistics(&mut self) -> impl Iterator<Item = Gathered> {
        let taken = self.fixed.zip(self.statistics.as_mut()).map(|(model, statistics)| (model, statistics.take()));
        taken
            .into_iter()
            .flat_map(|(model, taken)| taken.into_iter().map(move |(cluster, sums)| (model, cluster, sums)))
    }

    /// Makes models on a separate thread from now on, so that rows are not delayed. The time at which a model takes
    /// effect then depends on how long making it takes.
    pub(crate) fn learn_beside(&mut self) {
        self.place = Place::Beside(None);
    }

    /// Sets whether anomalies have reasons. Computing them takes as long as a score.
    pub(super) const fn give_reasons(&mut self, give: bool) {
        self.gives_reasons = give;
    }

    /// A learner of the same columns and feedback labels, at the start of its warm-up.
    #[must_use]
    pub fn candidate(&self, settings: Settings) -> Self {
        let (feedback_labels, place) = (self.feedback_labels.clone(), self.place.clone());
        Self { feedback_labels, place, ..Self::new(self.columns.clone(), settings) }
    }

    /// Gives it the feedback labels and the alarm level of the learner whose rows it scores.
    pub(super) fn continue_for(&mut self, other: &Self) {
        other.feedback_labels.all().iter().for_each(|label| self.label(label.clone()));
        self.set_alpha(other.settings.alpha);
        (self.gives_reasons, self.place) = (other.gives_reasons, other.place.clone());
    }

    /// Adds an operator's feedback label, for this model and all that follow it.
    pub fn label(&mut self, label: FeedbackLabel) {
        self.feedback_labels.add(label);
        if let Stage::Ready(ready) = &mut self.stage {
            ready.likeness = Likeness::new(&self.feedback_labels, &ready.fitted);
        }
    }

    /// The feedback labels, the oldest first.
    #[must_use]
    pub fn feedback_labels(&self) -> &[FeedbackLabel] {
        self.feedback_labels.all()
    }

    /// All feedback labels.
    pub(crate) const fn labels(&self) -> &FeedbackLabels {
        &self.feedback_labels
    }

    /// The number of batches so far.
    pub(crate) const fn batches(&self) -> u64 {
        self.batches
    }

    /// Scores the rows of one drain, then trains on the normal rows.
    ///
    /// The result has one element for each row, `None` during the warm-up. A batch without rows still counts as time.
    ///
    /// # Panics
    /// If the rows do not have one value for each column.
    pub fn observe(&mut self, rows: ArrayView2<'_, f64>) -> Vec<Option<Verdict>> {
        self.observe_choosing(rows, |_| Eligibility::Welcome)
    }

    /// As [`Self::observe`]. `eligibility` returns for the index of a row whether it is eligible for training.
    pub(super) fn observe_choosing(
        &mut self,
        rows: ArrayView2<'_, f64>,
        eligibility: impl Fn(usize) -> Eligibility,
    ) -> Vec<Option<Verdict>> {
        assert_eq!(rows.ncols(), self.columns.len(), "a row has one value for each column");
        self.batches = self.batches.saturating_add(1);
        let is_suspect = |row: usize| eligibility(row) == Eligibility::Suspect;
        let may_train = |row: &usize| !matches!(eligibility(*row), Eligibility::Suspect | Eligibility::Surplus);
        let offered: Vec<usize> = (0..rows.nrows()).filter(may_train).collect();
        let chosen = sample(offered.len(), self.settings.learnt_rows_per_batch, self.settings.seed ^ self.batches);
        let learnt: Vec<usize> = chosen.into_iter().map(|place| offered[place]).collect();
        let most_reasons = self.most_reasons();
        match &mut self.stage {
            Stage::WarmUp(warm_up) => {
                let unusual = |row: usize| eligibility(row) == Eligibility::Unusual;
                let seen = (0..rows.nrows()).filter(|&row| !is_suspect(row)).count();
                warm_up.collect(rows, &learnt, seen, unusual, &self.settings);
                if warm_up.is_over(&self.settings) {
                    self.end_warm_up();
                }
                vec![None; rows.nrows()]
            }
            Stage::Ready(ready) => {
                let training = match self.fixed {
                    None => Training::moving(&ready.fitted.clusters),
                    Some(_) => Training::fixed(self.statistics.as_mut()),
                };
                ready.observe(rows, &learnt, training, &self.columns, &self.settings, most_reasons)
            }
        }
    }

    /// Scores rows without training on them. `None` for each row during the warm-up.
    ///
    /// # Panics
    /// If the rows do not have one value for each column.
    #[must_use]
    pub fn judge(&self, rows: ArrayView2<'_, f64>) -> Vec<Option<Verdict>> {
        assert_eq!(rows.ncols(), self.columns.len(), "a row has one value for each column");
        match &self.stage {
            Stage::WarmUp(_) => vec![None; rows.nrows()],
            Stage::Ready(ready) => {
                let mut scratch = Scratch::default();
                let most_reasons = self.most_reasons();
                let mut verdict =
                    |row| ready.judge(row, &ready.fitted.typical, &self.columns, most_reasons, &mut scratch);
                rows.outer_iter().map(|row| Some(verdict(row).0)).collect()
            }
        }
    }

    const fn most_reasons(&self) -> usize {
        if self.gives_reasons { self.settings.reasons } else { 0 }
    }

    /// Makes the model that ends the warm-up, or takes it over from the thread that made it.
    fn end_warm_up(&mut self) {
        let Stage::WarmUp(warm_up) = &self.stage else { return };
        let Place::Beside(job) = &mut self.place else {
            self.fit();
            return;
        };
        match job.as_ref().map(Job::outcome) {
            None => {
                let (warm_up, columns) = (warm_up.clone(), self.columns.clone());
                let (settings, feedback_labels) = (self.settings.clone(), self.feedback_labels.clone());
                *job = Job::begin(move || learn(&warm_up, &columns, &settings, &feedback_labels));
            }
            Some(Ok(None)) => {}
            Some(made) => {
                *job = None;
                if let Ok(Some(Some(fitted))) = made {
                    self.stage = Stage::ready(fitted, &self.feedback_labels);
                }
            }
        }
    }

    /// Ends the warm-up with the rows so far; false if there are no rows.
    pub fn fit(&mut self) -> bool {
        let Stage::WarmUp(warm_up) = &self.stage else { return true };
        let Some(fitted) = learn(warm_up, &self.columns, &self.settings, &self.feedback_labels) else { return false };
        self.stage = Stage::ready(fitted, &self.feedback_labels);
        true
    }

    /// Starts the settling period again: at the start of a capture, the next batches have flows and hosts that began
    /// earlier.
    pub fn settle(&mut self) {
        if let Stage::WarmUp(warm_up) = &mut self.stage {
            warm_up.settle();
        }
    }

    /// The fraction of the warm-up rows that is unusual, 0–1, if it prolongs the warm-up.
    pub(super) fn overdue(&self) -> Option<f64> {
        let Stage::WarmUp(warm_up) = &self.stage else { return None };
        warm_up.is_overdue(&self.settings).then(|| warm_up.unusual_part())
    }

    /// Whether most rows of its warm-up are unusual to the model in use.
    pub(super) fn is_mostly_unusual(&self) -> bool {
        matches!(&self.stage, Stage::WarmUp(warm_up) if warm_up.is_mostly_unusual())
    }

    pub(crate) fn fitted(&self) -> Option<&Fitted> {
        match &self.stage {
            Stage::WarmUp(_) => None,
            Stage::Ready(ready) => Some(&ready.fitted),
        }
    }

    /// Sets the probability below which rows are anomalies from now on.
    pub(crate) fn set_alpha(&mut self, alpha: f64) {
        self.settings.alpha = alpha;
        if let Stage::Ready(ready) = &mut self.stage {
            ready.fitted.calibration.set_alpha(alpha);
        }
    }

    /// Counts batches without rows, which change nothing else.
    pub fn pass(&mut self, batches: u64) {
        self.batches = self.batches.saturating_add(batches);
        if let Stage::WarmUp(warm_up) = &mut self.stage {
            warm_up.pass(batches);
        }
    }

    /// The reasons for the score of any row, normal ones too; empty during the warm-up.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn explain(&self, row: ndarray::ArrayView1<'_, f64>) -> Vec<super::reason::Reason> {
        let Some(fitted) = self.fitted() else { return Vec::new() };
        let mut scratch = Scratch::default();
        let cluster = fitted.score(row, &mut scratch).cluster;
        fitted.explain(&self.columns, &fitted.typical).reasons(row, &scratch.vector, cluster, self.settings.reasons)
    }

    /// The progress of the learner.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.stage {
            Stage::WarmUp(warm_up) => Status::WarmingUp {
                rows: warm_up.seen(),
                rows_needed: self.settings.warm_up_rows,
                batches: warm_up.batches(),
                batches_needed: self.settings.warm_up_batches,
            },
            Stage::Ready(ready) => {
                let Fitted { clusters, calibration, .. } = &ready.fitted;
                Status::Ready { clusters: clusters.len(), calibration_scores: calibration.len() }
            }
        }
    }

    /// The clusters, the largest first; empty during the warm-up.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterSummary> {
        let Some(fitted) = self.fitted() else { return Vec::new() };
        let explain = fitted.explain(&self.columns, &fitted.typical);
        let mut summaries: Vec<ClusterSummary> = (0..fitted.clusters.len())
            .map(|cluster| ClusterSummary {
                id: cluster as u32,
                share: fitted.clusters.share(cluster),
                size: fitted.clusters.rows[cluster],
                typical: explain.distinguishing(cluster, SUMMARY_COLUMNS),
            })
            .collect();
        summaries.sort_by(|a, b| b.share.total_cmp(&a.share));
        summaries
    }

    /// Gives a learner that was read the columns that it was written with.
    ///
    /// # Errors
    /// If the learner does not fit the columns.
    pub(super) fn fit_to(&mut self, columns: &[Column]) -> Outcome {
        self.columns = columns.to_vec();
        match &self.stage {
            Stage::WarmUp(warm_up) => warm_up.fits(columns.len()),
            Stage::Ready(ready) => ready.fitted.inconsistency(columns).map_or(Ok(()), Err),
        }?;
        holds(self.feedback_labels.fit(columns.len()), "expected feedback labels of rows of its columns")
    }

    /// The columns of the rows that the learner scores.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// The model of the rows of a warm-up; `None` if there are no rows.
fn learn(
    warm_up: &WarmUp,
    columns: &[Column],
    settings: &Settings,
    feedback_labels: &FeedbackLabels,
) -> Option<Fitted> {
    let (rows, times) = warm_up.rows(columns.len())?;
    let fit = |kept: &[usize]| {
        let times: Vec<u32> = kept.iter().map(|&row| times[row]).collect();
        Fitted::fit(rows.select(Axis(0), kept).view(), &times, columns, settings)
    };
    let all: Vec<usize> = (0..rows.nrows()).collect();
    let fitted = fit(&all);
    // A first fit finds the rows that an operator labelled as an attack, even if it treats them as normal. They are
    // left out of a second fit.
    let likeness = Likeness::new(feedback_labels, &fitted);
    let mut scratch = Scratch::default();
    let is_attack = |row: &usize| {
        fitted.score(rows.row(*row), &mut scratch);
        likeness.of(&scratch.vector, 0.0) == Some(FeedbackClass::Attack)
    };
    let (attacks, kept): (Vec<usize>, Vec<usize>) = all.into_iter().partition(is_attack);
    Some(if attacks.is_empty() || kept.is_empty() { fitted } else { fit(&kept) })
}
