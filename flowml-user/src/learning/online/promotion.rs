//! The model in use, and a candidate model that must pass a trial before it is promoted.
//!
//! A model that was trained elsewhere, or long ago, is better than none and worse than one of the present local
//! traffic. So a candidate is trained if the model in use is from elsewhere, or detects that traffic has changed. Its
//! warm-up uses the rows that the model in use does not find unusual. Then, in a trial, both score the same rows. The
//! candidate is promoted if its probabilities hold on unsuspicious rows, and if it detects the anomalies of incidents
//! again. Fewer alarms are no argument for it, because a model that was trained on an attack raises none.

use std::fmt;

use flowml_common::flow::Address;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::learner::{ClusterSummary, Eligibility, Learner, Settings, Status, Verdict};
use crate::features::Column;
use crate::learning::online::local::{self, Local, holds};

/// Number of batches of a trial.
const TRIAL_BATCHES: u32 = 30;

/// The smallest number of rows of a trial.
const TRIAL_ROWS: u64 = 300;

/// A row with a lower probability than this is unusual. It is the margin below which rows are not trained on.
const UNUSUAL: f64 = 0.01;

/// Traffic has changed if unusual rows are this many times as frequent as expected.
const DRIFT: f64 = 5.0;

/// Number of rows over which the fraction of unusual rows is computed. Older ones are down-weighted.
const DRIFT_ROWS: f64 = 2000.0;

/// An event that is reported to the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ModelEvent {
    /// The candidate was promoted.
    Promoted(Trial),
    /// The candidate failed its trial, and another one is trained.
    Failed(Trial),
    /// Most rows since the start are unusual to the model in use.
    Suspicious {
        /// The fraction of unusual rows, 0–1.
        part: f64,
    },
    /// Anomalies are withheld until the model's probabilities hold for local traffic.
    Withheld,
    /// The probabilities hold from now on.
    Holds,
    /// Too many rows are unusual.
    Drift {
        /// The fraction of unusual rows, 0–1.
        part: f64,
    },
}

impl ModelEvent {
    /// Whether the event is a warning.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        matches!(self, Self::Suspicious { .. } | Self::Drift { .. })
    }
}

impl fmt::Display for ModelEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withheld => write!(
                f,
                "anomalies are withheld until the model's probabilities hold for this host's traffic, for at least {} intervals; records contain the scores and the column 'withheld'",
                local::BATCHES
            ),
            Self::Holds => {
                write!(f, "the model's probabilities hold for this host's traffic: anomalies are reported from now on")
            }
            Self::Promoted(Trial { rows, anomalies, .. }) => write!(
                f,
                "the candidate model of this host's traffic is promoted: its probabilities hold ({anomalies} anomalies in {rows} rows outside incidents)"
            ),
            Self::Failed(Trial { incident: [found, again], .. }) if 2 * again < *found => write!(
                f,
                "the candidate model is rejected, because it detects only {again} of {found} anomalies of incidents; the current model stays in use, and a new candidate is trained"
            ),
            Self::Failed(Trial { rows, unusual, anomalies, .. }) => write!(
                f,
                "the candidate model is rejected, because its probabilities do not hold ({unusual} unusual rows and {anomalies} anomalies in {rows} rows outside incidents); the current model stays in use, and a new candidate is trained"
            ),
            Self::Suspicious { part } => write!(
                f,
                "suspicious baseline: {:.0} % of the rows so far are unusual to the current model; either it was trained on different traffic, or an attack has lasted since the start; if this continues, a candidate model will be trained on all rows outside incidents",
                part * 100.0
            ),
            Self::Drift { part } => write!(
                f,
                "{:.0} % of recent rows are unusual, where {:.0} % is expected: traffic has changed, or an attack lasts; a candidate model is trained beside the current one",
                part * 100.0,
                UNUSUAL * 100.0
            ),
        }
    }
}

/// The model in use and its candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Promotion {
    acting: Learner,
    /// For a model from elsewhere: whether its probabilities hold for local traffic.
    local: Option<Local>,
    shadow: Option<Shadow>,
    drift: Drift,
    events: Vec<ModelEvent>,
    /// Whether training is disabled.
    held: bool,
}

/// The results of a candidate's trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Number of unsuspicious rows.
    pub rows: u64,
    /// How many of these rows are unusual to the candidate.
    pub unusual: u64,
    /// How many of these rows are anomalies to the candidate.
    pub anomalies: u64,
    /// Rows of incidents that are anomalies to the model in use, and how many of these are also anomalies to the
    /// candidate.
    pub incident: [u64; 2],
}

impl Trial {
    /// Whether the candidate can be promoted: its probabilities hold on unsuspicious rows, and it detects the anomalies
    /// of incidents again.
    fn is_passed(&self, alpha: f64) -> bool {
        let [found, again] = self.incident;
        let holds = |below: u64, probability| holds(below as f64, self.rows as f64, probability);
        holds(self.unusual, UNUSUAL) && holds(self.anomalies, alpha) && 2 * again >= found
    }

    /// Adds a row with the verdicts of the candidate and of the model in use, if that gave one.
    fn add(&mut self, eligibility: Eligibility, learns_unusual: bool, own: &Verdict, acting: Option<&Verdict>) {
        match eligibility {
            Eligibility::Suspect if acting.is_some_and(|verdict| verdict.anomaly) => {
                self.incident[0] += 1;
                self.incident[1] += u64::from(own.anomaly);
            }
            // Rows that the candidate was not trained on are not expected to be normal to it.
            Eligibility::Unusual if !learns_unusual => {}
            Eligibility::Welcome | Eligibility::Unusual => {
                self.rows += 1;
                self.unusual += u64::from(own.probability < UNUSUAL);
                self.anomalies += u64::from(own.anomaly);
            }
            Eligibility::Suspect | Eligibility::Surplus => {}
        }
    }
}

/// A candidate: a learner in its warm-up or trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shadow {
    learner: Learner,
    /// Whether it was trained on rows that are unusual to the model in use, because most rows are.
    learns_unusual: bool,
    /// Number of batches in the trial.
    batches: u32,
    trial: Trial,
    /// Whether a suspicious baseline was reported.
    reported: bool,
}

impl Shadow {
    fn new(learner: Learner) -> Self {
        Self { learner, learns_unusual: false, batches: 0, trial: Trial::default(), reported: false }
    }

    /// Adds a batch with the verdicts of the model in use.
    fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        eligibility: &[Eligibility],
        acting: &[Option<Verdict>],
    ) -> Option<ModelEvent> {
        let is_unusual = |row: usize| acting[row].as_ref().is_some_and(|verdict| verdict.probability < UNUSUAL);
        let teaches = |row: usize| match eligibility[row] {
            Eligibility::Welcome if is_unusual(row) => Eligibility::Unusual,
            other => other,
        };
        let in_warm_up = self.learner.fitted().is_none();
        if in_warm_up {
            self.learns_unusual = self.learner.is_mostly_unusual();
        }
        // In its trial, the candidate decides by its own probabilities which rows are unusual.
        let own = self.learner.observe_choosing(rows, |row| if in_warm_up { teaches(row) } else { eligibility[row] });
        if own.iter().any(Option::is_some) {
            self.batches += 1;
            for (row, verdict) in own.iter().enumerate().filter_map(|(row, own)| Some((row, own.as_ref()?))) {
                self.trial.add(teaches(row), self.learns_unusual, verdict, acting[row].as_ref());
            }
        }
        let part = self.learner.overdue().filter(|_| !self.reported)?;
        self.reported = true;
        Some(ModelEvent::Suspicious { part })
    }

    /// The result of the trial, if it is over.
    fn outcome(&self) -> Option<ModelEvent> {
        let trial = self.trial;
        let over = self.batches >= TRIAL_BATCHES && trial.rows >= TRIAL_ROWS;
        let passed = || trial.is_passed(self.learner.settings().alpha);
        over.then(|| if passed() { ModelEvent::Promoted(trial) } else { ModelEvent::Failed(trial) })
    }
}

/// How many recent rows are unusual.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Drift {
    rows: f64,
    unusual: f64,
}

impl Drift {
    /// Adds a batch. Returns the fraction of unusual rows if it is too high.
    fn observe(&mut self, verdicts: &[Option<Verdict>]) -> Option<f64> {
        let decay = (1.0 - verdicts.len() as f64 / DRIFT_ROWS).max(0.0);
        let unusual = verdicts.iter().flatten().filter(|verdict| verdict.probability < UNUSUAL).count();
        self.rows = self.rows * decay + verdicts.iter().flatten().count() as f64;
        self.unusual = self.unusual * decay + unusual as f64;
        let part = self.unusual / self.rows.max(1.0);
        (self.rows >= DRIFT_ROWS / 4.0 && part > DRIFT * UNUSUAL).then_some(part)
    }
}

impl Promotion {
    /// A learner without a model, or one that continues with what it learnt from local traffic.
    #[must_use]
    pub fn of(acting: Learner) -> Self {
        Self { acting, local: None, shadow: None, drift: Drift::default(), events: Vec::new(), held: false }
    }

    /// A learner with a model from elsewhere. A candidate with these settings is trained from the start.
    #[must_use]
    pub fn from_elsewhere(acting: Learner, settings: Settings) -> Self {
        let shadow = Some(Shadow::new(acting.candidate(settings)));
        let local = Some(Local::new(acting.settings()));
        Self { local, shadow, events: vec![ModelEvent::Withheld], ..Self::of(acting) }
    }

    /// Makes models on a separate thread from now on ([`Learner::learn_beside`]).
    pub fn learn_beside(&mut self) {
        self.acting.learn_beside();
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.learn_beside();
        }
    }

    /// Sets whether anomalies have reasons.
    pub fn give_reasons(&mut self, give: bool) {
        self.acting.give_reasons(give);
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.give_reasons(give);
        }
    }

    /// Stops all training. Rows are scored with the present model from now on.
    pub fn hold(&mut self) {
        self.held = true;
        (self.shadow, self.local) = (None, None);
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
        if let Some(shadow) = &mut self.shadow {
            self.events.extend(shadow.observe(rows, eligibility, &verdicts));
            if let Some(outcome) = shadow.outcome() {
                self.end_trial(outcome);
            }
        } else if let Some(part) = self.drift.observe(&verdicts) {
            self.events.push(ModelEvent::Drift { part });
            self.begin_shadow();
        }
        if let Some(local) = &mut self.local
            && local.check(&mut verdicts, eligibility, hosts, self.acting.settings())
        {
            self.events.push(ModelEvent::Holds);
        }
        verdicts
    }

    fn begin_shadow(&mut self) {
        // The training rows of the model in use may have been known to be normal, but those of a new candidate are not.
        // A candidate that replaces a model of local traffic must also have seen more than an attack of minutes.
        let Settings { warm_up_rows, trusted, .. } = Settings::default();
        let settings = self.acting.settings().clone().unhurried();
        let settings = Settings { warm_up_rows, trusted, suspect_batches: 4 * settings.warm_up_batches, ..settings };
        self.shadow = Some(Shadow::new(self.acting.candidate(settings)));
        self.drift = Drift::default();
    }

    fn end_trial(&mut self, outcome: ModelEvent) {
        let shadow = self.shadow.take();
        match (&outcome, shadow) {
            (ModelEvent::Promoted(_), Some(shadow)) => (self.acting, self.local) = (shadow.learner, None),
            _ => self.begin_shadow(),
        }
        self.events.push(outcome);
    }

    /// The events that were not reported yet.
    pub fn events(&mut self) -> Vec<ModelEvent> {
        std::mem::take(&mut self.events)
    }

    /// Sets the probability below which rows are anomalies, for the candidate too.
    pub fn set_alpha(&mut self, alpha: f64) {
        self.acting.set_alpha(alpha);
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.set_alpha(alpha);
        }
    }

    /// As [`Learner::pass`].
    pub fn pass(&mut self, batches: u64) {
        self.acting.pass(batches);
        if let Some(local) = &mut self.local {
            local.pass(batches);
        }
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.pass(batches);
        }
    }

    /// Gives learners that were read the columns that they were written with.
    ///
    /// # Errors
    /// If the learners do not fit the columns.
    pub fn fit_to(&mut self, columns: &[Column]) -> Result<(), String> {
        self.acting.fit_to(columns)?;
        self.shadow.as_mut().map_or(Ok(()), |shadow| shadow.learner.fit_to(columns))
    }

    /// The learner with the model in use.
    #[must_use]
    pub fn acting(&self) -> &Learner {
        &self.acting
    }

    /// The learner with the model in use, for changes.
    pub fn acting_mut(&mut self) -> &mut Learner {
        &mut self.acting
    }

    /// The progress of the learner in use.
    #[must_use]
    pub fn status(&self) -> Status {
        self.acting.status()
    }

    /// The progress of the candidate, if there is one.
    #[must_use]
    pub fn shadow_status(&self) -> Option<Status> {
        self.shadow.as_ref().map(|shadow| shadow.learner.status())
    }

    /// The clusters of the model in use.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterSummary> {
        self.acting.clusters()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{Rng, SeedableRng};
    use rand_distr::StandardNormal;
    use rand_xoshiro::Xoshiro256Plus;

    use super::*;
    use crate::features::{Column, Learn};

    const fn column(name: &'static str) -> Column {
        Column { name, unit: "", meaning: "", learn: Learn::Ratio }
    }

    const COLUMNS: [Column; 3] = [column("a"), column("b"), column("c")];

    /// Rows around a place. Columns are independent.
    fn rows(place: f64, rng: &mut Xoshiro256Plus) -> Array2<f64> {
        Array2::from_shape_fn((30, COLUMNS.len()), |_| place + rng.sample::<f64, _>(StandardNormal))
    }

    fn settings() -> Settings {
        Settings { clusters: Some(2), alpha: 1e-3, ..Settings::default() }
    }

    /// A learner that was trained on rows around a place.
    fn learnt(place: f64, rng: &mut Xoshiro256Plus) -> Learner {
        let mut learner = Learner::new(COLUMNS.to_vec(), Settings { warm_up_batches: u32::MAX, ..settings() });
        for _ in 0..40 {
            learner.observe(rows(place, rng).view());
        }
        assert!(learner.fit());
        learner
    }

    /// A model from elsewhere with its candidate. Tests count withheld rows as anomalies.
    fn elsewhere(learner: Learner) -> Promotion {
        let mut promotion = Promotion::from_elsewhere(learner, settings());
        assert_eq!(promotion.events(), [ModelEvent::Withheld]);
        promotion
    }

    /// A different host for each row.
    fn hosts(rows: usize) -> Vec<Address> {
        (0..rows as u32).map(Address::from_v4).collect()
    }

    fn anomalies(promotion: &mut Promotion, rows: &Array2<f64>) -> usize {
        let welcome = vec![Eligibility::Welcome; rows.nrows()];
        raised(&promotion.observe(rows.view(), &welcome, &hosts(rows.nrows())))
    }

    /// The number of anomalies, including withheld ones.
    fn raised(verdicts: &[Option<Verdict>]) -> usize {
        verdicts.iter().flatten().filter(|verdict| verdict.anomaly || verdict.withheld).count()
    }

    #[test]
    fn a_candidate_that_fits_local_traffic_replaces_a_model_from_elsewhere() {
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let mut promotion = elsewhere(learnt(0.0, &mut rng));
        let mut events = Vec::new();
        for _ in 0..151 {
            anomalies(&mut promotion, &rows(40.0, &mut rng));
            events.extend(promotion.events());
        }
        assert!(matches!(events[0], ModelEvent::Suspicious { part } if part > 0.99), "{events:?}");
        assert!(
            matches!(events[1], ModelEvent::Promoted(Trial { rows: 900, anomalies, .. }) if anomalies < 5),
            "{events:?}"
        );
        assert!(anomalies(&mut promotion, &rows(40.0, &mut rng)) <= 1);
        assert_eq!(anomalies(&mut promotion, &rows(0.0, &mut rng)), 30);
    }

    #[test]
    fn a_model_made_on_another_thread_is_the_same_and_delays_no_row() {
        let settings = Settings { warm_up_batches: 30, ..settings() };
        let mut on_path = Promotion::of(Learner::new(COLUMNS.to_vec(), settings.clone()));
        let mut beside = Promotion::of(Learner::new(COLUMNS.to_vec(), settings));
        beside.learn_beside();
        let mut rng = Xoshiro256Plus::seed_from_u64(5);
        for _ in 0..30 {
            let rows = rows(0.0, &mut rng);
            anomalies(&mut on_path, &rows);
            anomalies(&mut beside, &rows);
        }
        assert!(matches!(on_path.status(), Status::Ready { .. }));
        // The last batch started the job. The first batch after the job has ended takes the result.
        let none = Array2::zeros((0, COLUMNS.len()));
        while matches!(beside.status(), Status::WarmingUp { .. }) {
            std::thread::sleep(std::time::Duration::from_millis(1));
            anomalies(&mut beside, &none);
        }
        let rows = rows(3.0, &mut rng);
        assert_eq!(beside.acting().judge(rows.view()), on_path.acting().judge(rows.view()));
    }

    #[test]
    fn an_attack_that_lasts_from_the_start_is_detected_again_and_again() {
        let mut rng = Xoshiro256Plus::seed_from_u64(2);
        let mut promotion = elsewhere(learnt(0.0, &mut rng));
        // One row in ten is the attacker's, in the warm-up, in the trial, and afterwards. A sequential test suspects
        // it.
        let mut found = Vec::new();
        for _ in 0..90 {
            let mut rows = rows(0.0, &mut rng);
            rows.slice_mut(ndarray::s![..3, ..]).fill(15.0);
            let eligibility = |row| if row < 3 { Eligibility::Suspect } else { Eligibility::Welcome };
            let eligibility: Vec<Eligibility> = (0..rows.nrows()).map(eligibility).collect();
            found.push(raised(&promotion.observe(rows.view(), &eligibility, &hosts(rows.nrows()))));
        }
        assert!(found.iter().all(|found| (3..=5).contains(found)), "{found:?}");
        let events = promotion.events();
        // The promoted candidate was not trained on the attack, so that many rows are unusual to it too.
        assert!(matches!(events[..], [ModelEvent::Promoted(_), ModelEvent::Drift { .. }]), "{events:?}");
    }

    #[test]
    fn a_candidate_that_raises_more_alarms_is_not_promoted() {
        let mut rng = Xoshiro256Plus::seed_from_u64(3);
        let mut promotion = elsewhere(learnt(0.0, &mut rng));
        for _ in 0..30 {
            anomalies(&mut promotion, &(rows(0.0, &mut rng) * 0.1));
        }
        for _ in 0..30 {
            anomalies(&mut promotion, &(rows(0.0, &mut rng) * 1.2));
        }
        let events = promotion.events();
        assert!(
            matches!(events[..], [ModelEvent::Failed(Trial { unusual, rows, .. })] if unusual > rows / 10),
            "{events:?}"
        );
        assert!(matches!(promotion.shadow_status(), Some(Status::WarmingUp { .. })));
    }

    /// Batches consist almost only of a scan. Its host is in an incident from the first batch of each scan until some
    /// batches after it.
    #[test]
    fn a_repeated_scan_from_the_start_is_not_trained_on() {
        let mut rng = Xoshiro256Plus::seed_from_u64(5);
        let mut promotion = elsewhere(learnt(0.0, &mut rng));
        let mut found = Vec::new();
        for _ in 0..6 {
            for batch in 0..60 {
                let mut rows = rows(0.0, &mut rng);
                let is_scan = batch < 40;
                if is_scan {
                    rows.slice_mut(ndarray::s![2.., ..]).mapv_inplace(|value| 15.0 + 0.1 * value);
                }
                let eligibility = |row| match row >= 2 && batch < 50 {
                    true => Eligibility::Suspect,
                    false => Eligibility::Welcome,
                };
                let eligibility: Vec<Eligibility> = (0..30).map(eligibility).collect();
                let verdicts = promotion.observe(rows.view(), &eligibility, &hosts(rows.nrows()));
                if is_scan {
                    found.push(raised(&verdicts[2..]));
                }
            }
        }
        assert!(found.iter().all(|found| *found == 28), "{found:?}");
        let events = promotion.events();
        assert!(events.iter().any(|event| matches!(event, ModelEvent::Promoted(_))), "{events:?}");
    }

    /// A candidate that was trained on an attack raises no alarm about it and therefore fails.
    #[test]
    fn a_candidate_that_misses_the_anomalies_of_incidents_is_not_promoted() {
        let trial = Trial { rows: 1000, incident: [300, 0], ..Trial::default() };
        assert!(!trial.is_passed(1e-4));
        assert!(Trial { incident: [300, 290], ..trial }.is_passed(1e-4));
        assert!(Trial { incident: [300, 290], unusual: 20, ..trial }.is_passed(1e-4));
        assert!(!Trial { incident: [300, 290], unusual: 60, ..trial }.is_passed(1e-4));
        assert!(!Trial { incident: [0, 0], anomalies: 4, ..trial }.is_passed(1e-4));
    }

    #[test]
    fn a_change_of_traffic_is_reported_and_followed() {
        let mut rng = Xoshiro256Plus::seed_from_u64(4);
        let mut promotion = Promotion::of(learnt(0.0, &mut rng));
        for _ in 0..200 {
            anomalies(&mut promotion, &rows(0.0, &mut rng));
        }
        assert_eq!(promotion.events(), []);
        for _ in 0..100 {
            anomalies(&mut promotion, &rows(3.5, &mut rng));
        }
        let events = promotion.events();
        assert!(matches!(events[..], [ModelEvent::Drift { part }] if part > 0.05), "{events:?}");
        for _ in 0..2600 {
            anomalies(&mut promotion, &rows(3.5, &mut rng));
        }
        let events = promotion.events();
        assert!(events.iter().any(|event| matches!(event, ModelEvent::Promoted(_))), "{events:?}");
    }
}
