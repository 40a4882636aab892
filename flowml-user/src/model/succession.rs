//! The learner that judges, and the one beside it that has to prove itself before it takes over.
//!
//! A model that was learnt elsewhere, or long ago, is better than none and worse than one of here and now. So where the
//! model at hand is from elsewhere, or finds that things have changed, a candidate is learnt beside it: first from the rows
//! that the one in use does not find unusual, then on trial, in which both judge the same rows. It takes over if its
//! probabilities hold on rows that nobody speaks against, and if it finds again what is in an incident. That it raises fewer
//! alarms is no merit: one that learnt an attack raises none.

use std::fmt;

use flowml_common::flow::Address;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use super::local::{self, Local, holds};
use super::{ClusterSummary, Learner, Settings, Status, Teaching, Verdict};
use crate::features::Column;

/// Batches for which both judge.
const TRIAL_BATCHES: u32 = 30;

/// Rows that the trial takes at least.
const TRIAL_ROWS: u64 = 300;

/// Rarer than this by the learner's own probability, a row is unusual; rows beyond the margin are not learnt.
const UNUSUAL: f64 = 0.01;

/// Things have changed where so many times more rows are unusual than should be.
const DRIFT: f64 = 5.0;

/// Rows over which the part of unusual ones is taken; older ones count less.
const DRIFT_ROWS: f64 = 2000.0;

/// What the operator should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum News {
    /// What was learnt here judges from now on.
    TookOver(Trial),
    /// What was learnt beside does not deserve it; another one is begun.
    Failed(Trial),
    /// Most of what was there since the start is unusual to the model in use.
    Suspicious {
        /// The part that is, 0–1.
        part: f64,
    },
    /// Anomalies are withheld until the model's probabilities hold here.
    Withheld,
    /// They do from now on.
    Holds,
    /// Too many rows are unusual.
    Drift {
        /// The part that is, 0–1.
        part: f64,
    },
}

impl News {
    /// Whether something is not as it should be.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        matches!(self, Self::Suspicious { .. } | Self::Drift { .. })
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withheld => write!(
                f,
                "unusual behaviour is withheld until the model's probabilities hold here, {} intervals at least; scores are in the records, and so is the column 'withheld'",
                local::BATCHES
            ),
            Self::Holds => write!(f, "the model's probabilities hold here: unusual behaviour is reported from now on"),
            Self::TookOver(Trial { rows, anomalies, .. }) => write!(
                f,
                "the model of this host's own traffic takes over: its probabilities hold ({anomalies} anomalies in {rows} rows of no incident)"
            ),
            Self::Failed(Trial { incident: [found, again], .. }) if 2 * again < *found => write!(
                f,
                "the candidate model finds {again} of {found} anomalies of incidents again: the one in use stays, and another is learnt"
            ),
            Self::Failed(Trial { rows, unusual, anomalies, .. }) => write!(
                f,
                "the candidate model's probabilities do not hold ({unusual} unusual rows and {anomalies} anomalies in {rows} rows of no incident): the one in use stays, and another is learnt"
            ),
            Self::Suspicious { part } => write!(
                f,
                "suspicious baseline: {:.0} % of what was seen is unusual to the model in use; either the traffic here is unlike what it learnt, or an attack has lasted all the time; if it goes on like this, a candidate model will learn from all of it that is in no incident",
                part * 100.0
            ),
            Self::Drift { part } => write!(
                f,
                "{:.0} % of recent rows are unusual where {:.0} % should be: traffic has changed, or an attack lasts; another model is learnt beside the one in use",
                part * 100.0,
                UNUSUAL * 100.0
            ),
        }
    }
}

/// A learner and its successor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Succession {
    acting: Learner,
    /// Of a model from elsewhere: whether its probabilities hold here.
    local: Option<Local>,
    shadow: Option<Shadow>,
    drift: Drift,
    news: Vec<News>,
    /// Whether nothing is learnt.
    held: bool,
}

/// What a trial has shown of a candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Rows that nobody speaks against …
    pub rows: u64,
    /// … those of them that the candidate finds unusual …
    pub unusual: u64,
    /// … and those that it calls anomalies.
    pub anomalies: u64,
    /// Rows of incidents that the model in use calls anomalies, and those of them that the candidate calls so too.
    pub incident: [u64; 2],
}

impl Trial {
    /// Whether the candidate may take over: its probabilities hold where nobody speaks against a row, and it finds again what
    /// is in an incident.
    fn is_passed(&self, alpha: f64) -> bool {
        let [found, again] = self.incident;
        let holds = |below: u64, probability| holds(below as f64, self.rows as f64, probability);
        holds(self.unusual, UNUSUAL) && holds(self.anomalies, alpha) && 2 * again >= found
    }

    /// Takes a row that the candidate judged, and that the model in use judged if that judges.
    fn add(&mut self, teaching: Teaching, learns_unusual: bool, own: &Verdict, acting: Option<&Verdict>) {
        match teaching {
            Teaching::Suspect if acting.is_some_and(|verdict| verdict.anomaly) => {
                self.incident[0] += 1;
                self.incident[1] += u64::from(own.anomaly);
            }
            // What it was not to learn, it is not to know.
            Teaching::Unusual if !learns_unusual => {}
            Teaching::Welcome | Teaching::Unusual => {
                self.rows += 1;
                self.unusual += u64::from(own.probability < UNUSUAL);
                self.anomalies += u64::from(own.anomaly);
            }
            Teaching::Suspect | Teaching::Surplus => {}
        }
    }
}

/// A candidate: a learner that warms up, and then is on trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shadow {
    learner: Learner,
    /// Whether it learnt what the model in use finds unusual, as most of the rows were.
    learns_unusual: bool,
    /// Batches on trial.
    batches: u32,
    trial: Trial,
    /// Whether it was reported that the baseline is suspicious.
    told: bool,
}

impl Shadow {
    fn new(learner: Learner) -> Self {
        Self { learner, learns_unusual: false, batches: 0, trial: Trial::default(), told: false }
    }

    /// Lets it see what the acting learner judged.
    fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        teaching: &[Teaching],
        acting: &[Option<Verdict>],
    ) -> Option<News> {
        let is_unusual = |row: usize| acting[row].as_ref().is_some_and(|verdict| verdict.probability < UNUSUAL);
        let teaches = |row: usize| match teaching[row] {
            Teaching::Welcome if is_unusual(row) => Teaching::Unusual,
            other => other,
        };
        let in_warm_up = self.learner.fitted().is_none();
        if in_warm_up {
            self.learns_unusual = self.learner.is_mostly_unusual();
        }
        // Once it judges, it judges for itself what is unusual.
        let own = self.learner.observe_choosing(rows, |row| if in_warm_up { teaches(row) } else { teaching[row] });
        if own.iter().any(Option::is_some) {
            self.batches += 1;
            for (row, verdict) in own.iter().enumerate().filter_map(|(row, own)| Some((row, own.as_ref()?))) {
                self.trial.add(teaches(row), self.learns_unusual, verdict, acting[row].as_ref());
            }
        }
        let part = self.learner.overdue().filter(|_| !self.told)?;
        self.told = true;
        Some(News::Suspicious { part })
    }

    /// What came of the trial, once it is over.
    fn outcome(&self) -> Option<News> {
        let trial = self.trial;
        let over = self.batches >= TRIAL_BATCHES && trial.rows >= TRIAL_ROWS;
        let passed = || trial.is_passed(self.learner.settings().alpha);
        over.then(|| if passed() { News::TookOver(trial) } else { News::Failed(trial) })
    }
}

/// How many of the recent rows are unusual.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Drift {
    rows: f64,
    unusual: f64,
}

impl Drift {
    /// Takes a batch, and says which part is unusual if that is too much.
    fn observe(&mut self, verdicts: &[Option<Verdict>]) -> Option<f64> {
        let decay = (1.0 - verdicts.len() as f64 / DRIFT_ROWS).max(0.0);
        let unusual = verdicts.iter().flatten().filter(|verdict| verdict.probability < UNUSUAL).count();
        self.rows = self.rows * decay + verdicts.iter().flatten().count() as f64;
        self.unusual = self.unusual * decay + unusual as f64;
        let part = self.unusual / self.rows.max(1.0);
        (self.rows >= DRIFT_ROWS / 4.0 && part > DRIFT * UNUSUAL).then_some(part)
    }
}

impl Succession {
    /// A learner that begins with nothing, or goes on with what it learnt here.
    #[must_use]
    pub fn of(acting: Learner) -> Self {
        Self { acting, local: None, shadow: None, drift: Drift::default(), news: Vec::new(), held: false }
    }

    /// A learner that learnt elsewhere: another is learnt beside it from the start, by these settings.
    #[must_use]
    pub fn from_elsewhere(acting: Learner, settings: Settings) -> Self {
        let shadow = Some(Shadow::new(acting.successor(settings)));
        let local = Some(Local::new(acting.settings()));
        Self { local, shadow, news: vec![News::Withheld], ..Self::of(acting) }
    }

    /// From now on models are made beside the path of the rows ([`Learner::learn_beside`]).
    pub fn learn_beside(&mut self) {
        self.acting.learn_beside();
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.learn_beside();
        }
    }

    /// Whether anomalies are told with their reasons from now on.
    pub fn give_reasons(&mut self, give: bool) {
        self.acting.give_reasons(give);
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.give_reasons(give);
        }
    }

    /// From now on all is judged by what was learnt so far, and nothing more is learnt.
    pub fn hold(&mut self) {
        self.held = true;
        (self.shadow, self.local) = (None, None);
        self.news.clear();
    }

    /// As [`Learner::observe`], by the one that acts; `teaching` says of each row whether it may teach, and `hosts` whose it is.
    ///
    /// # Panics
    /// If `teaching` or `hosts` has not one element for each row.
    pub fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        teaching: &[Teaching],
        hosts: &[Address],
    ) -> Vec<Option<Verdict>> {
        assert_eq!([rows.nrows(); 2], [teaching.len(), hosts.len()], "each row may teach or not, and is of a host");
        if self.held {
            return self.acting.judge(rows);
        }
        let mut verdicts = self.acting.observe_choosing(rows, |row| teaching[row]);
        if let Some(shadow) = &mut self.shadow {
            self.news.extend(shadow.observe(rows, teaching, &verdicts));
            if let Some(outcome) = shadow.outcome() {
                self.end_trial(outcome);
            }
        } else if let Some(part) = self.drift.observe(&verdicts) {
            self.news.push(News::Drift { part });
            self.begin_shadow();
        }
        if let Some(local) = &mut self.local
            && local.check(&mut verdicts, teaching, hosts, self.acting.settings())
        {
            self.news.push(News::Holds);
        }
        verdicts
    }

    fn begin_shadow(&mut self) {
        // What the one in use learnt from may have been known to be ordinary; what is here is not. And what is to replace a
        // model that has changed with its traffic so far must have seen more than an attack of minutes.
        let Settings { warm_up_rows, trusted, .. } = Settings::default();
        let settings = self.acting.settings().clone().unhurried();
        let settings = Settings { warm_up_rows, trusted, suspect_batches: 4 * settings.warm_up_batches, ..settings };
        self.shadow = Some(Shadow::new(self.acting.successor(settings)));
        self.drift = Drift::default();
    }

    fn end_trial(&mut self, outcome: News) {
        let shadow = self.shadow.take();
        match (&outcome, shadow) {
            (News::TookOver(_), Some(shadow)) => (self.acting, self.local) = (shadow.learner, None),
            _ => self.begin_shadow(),
        }
        self.news.push(outcome);
    }

    /// What the operator should know and was not told.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Judges by another alarm level from now on, also the one beside.
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

    /// Gives learners that were read their columns, which are those that they were written with.
    ///
    /// # Errors
    /// If they do not fit them.
    pub fn fit_to(&mut self, columns: &[Column]) -> Result<(), String> {
        self.acting.fit_to(columns)?;
        self.shadow.as_mut().map_or(Ok(()), |shadow| shadow.learner.fit_to(columns))
    }

    /// The one that acts.
    #[must_use]
    pub fn acting(&self) -> &Learner {
        &self.acting
    }

    /// The one that acts, to be changed.
    pub fn acting_mut(&mut self) -> &mut Learner {
        &mut self.acting
    }

    /// How far the one that acts is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.acting.status()
    }

    /// How far the one beside it is, if there is one.
    #[must_use]
    pub fn shadow_status(&self) -> Option<Status> {
        self.shadow.as_ref().map(|shadow| shadow.learner.status())
    }

    /// The clusters of the one that acts.
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
        Column { name, unit: "", meaning: "", learn: Learn::Share }
    }

    const COLUMNS: [Column; 3] = [column("a"), column("b"), column("c")];

    /// Rows around a place, each column by itself.
    fn rows(place: f64, rng: &mut Xoshiro256Plus) -> Array2<f64> {
        Array2::from_shape_fn((30, COLUMNS.len()), |_| place + rng.sample::<f64, _>(StandardNormal))
    }

    fn settings() -> Settings {
        Settings { clusters: Some(2), alpha: 1e-3, ..Settings::default() }
    }

    /// A learner that knows the rows around a place.
    fn learnt(place: f64, rng: &mut Xoshiro256Plus) -> Learner {
        let mut learner = Learner::new(COLUMNS.to_vec(), Settings { warm_up_batches: u32::MAX, ..settings() });
        for _ in 0..40 {
            learner.observe(rows(place, rng).view());
        }
        assert!(learner.fit());
        learner
    }

    /// A succession of a learner from elsewhere. What is withheld counts as an anomaly here.
    fn elsewhere(learner: Learner) -> Succession {
        let mut succession = Succession::from_elsewhere(learner, settings());
        assert_eq!(succession.news(), [News::Withheld]);
        succession
    }

    /// Each row is of another.
    fn hosts(rows: usize) -> Vec<Address> {
        (0..rows as u32).map(Address::from_v4).collect()
    }

    fn anomalies(succession: &mut Succession, rows: &Array2<f64>) -> usize {
        let welcome = vec![Teaching::Welcome; rows.nrows()];
        raised(&succession.observe(rows.view(), &welcome, &hosts(rows.nrows())))
    }

    /// How many are anomalies, or would be if the probabilities were known to hold.
    fn raised(verdicts: &[Option<Verdict>]) -> usize {
        verdicts.iter().flatten().filter(|verdict| verdict.anomaly || verdict.withheld).count()
    }

    #[test]
    fn what_fits_here_takes_over_from_what_came_from_elsewhere() {
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let mut succession = elsewhere(learnt(0.0, &mut rng));
        let mut news = Vec::new();
        for _ in 0..151 {
            anomalies(&mut succession, &rows(40.0, &mut rng));
            news.extend(succession.news());
        }
        assert!(matches!(news[0], News::Suspicious { part } if part > 0.99), "{news:?}");
        assert!(matches!(news[1], News::TookOver(Trial { rows: 900, anomalies, .. }) if anomalies < 5), "{news:?}");
        assert!(anomalies(&mut succession, &rows(40.0, &mut rng)) <= 1);
        assert_eq!(anomalies(&mut succession, &rows(0.0, &mut rng)), 30);
    }

    #[test]
    fn a_model_that_is_made_beside_is_the_same_and_holds_no_row_up() {
        let settings = Settings { warm_up_batches: 30, ..settings() };
        let mut on_path = Succession::of(Learner::new(COLUMNS.to_vec(), settings.clone()));
        let mut beside = Succession::of(Learner::new(COLUMNS.to_vec(), settings));
        beside.learn_beside();
        let mut rng = Xoshiro256Plus::seed_from_u64(5);
        for _ in 0..30 {
            let rows = rows(0.0, &mut rng);
            anomalies(&mut on_path, &rows);
            anomalies(&mut beside, &rows);
        }
        assert!(matches!(on_path.status(), Status::Ready { .. }));
        // The last of the batches began it; the next to come after it is made takes it.
        let none = Array2::zeros((0, COLUMNS.len()));
        while matches!(beside.status(), Status::WarmingUp { .. }) {
            std::thread::sleep(std::time::Duration::from_millis(1));
            anomalies(&mut beside, &none);
        }
        let rows = rows(3.0, &mut rng);
        assert_eq!(beside.acting().judge(rows.view()), on_path.acting().judge(rows.view()));
    }

    #[test]
    fn an_attack_that_lasts_from_the_start_is_found_on_and_on() {
        let mut rng = Xoshiro256Plus::seed_from_u64(2);
        let mut succession = elsewhere(learnt(0.0, &mut rng));
        // One row in ten is the attacker's, in the warm-up, on trial, and after that. A witness speaks against it.
        let mut found = Vec::new();
        for _ in 0..90 {
            let mut rows = rows(0.0, &mut rng);
            rows.slice_mut(ndarray::s![..3, ..]).fill(15.0);
            let teaching = |row| if row < 3 { Teaching::Suspect } else { Teaching::Welcome };
            let teaching: Vec<Teaching> = (0..rows.nrows()).map(teaching).collect();
            found.push(raised(&succession.observe(rows.view(), &teaching, &hosts(rows.nrows()))));
        }
        assert!(found.iter().all(|found| (3..=5).contains(found)), "{found:?}");
        let news = succession.news();
        // What took over did not learn the attack: to it, too, many rows are unusual.
        assert!(matches!(news[..], [News::TookOver(_), News::Drift { .. }]), "{news:?}");
    }

    #[test]
    fn what_raises_more_alarms_does_not_take_over() {
        let mut rng = Xoshiro256Plus::seed_from_u64(3);
        let mut succession = elsewhere(learnt(0.0, &mut rng));
        for _ in 0..30 {
            anomalies(&mut succession, &(rows(0.0, &mut rng) * 0.1));
        }
        for _ in 0..30 {
            anomalies(&mut succession, &(rows(0.0, &mut rng) * 1.2));
        }
        let news = succession.news();
        assert!(matches!(news[..], [News::Failed(Trial { unusual, rows, .. })] if unusual > rows / 10), "{news:?}");
        assert!(matches!(succession.shadow_status(), Some(Status::WarmingUp { .. })));
    }

    /// Each batch is a scan, and nearly nothing else: its host is in an incident from the first batch of each scan on, until
    /// some batches after the scan.
    #[test]
    fn a_scan_from_the_start_that_comes_again_and_again_teaches_nothing() {
        let mut rng = Xoshiro256Plus::seed_from_u64(5);
        let mut succession = elsewhere(learnt(0.0, &mut rng));
        let mut found = Vec::new();
        for _ in 0..6 {
            for batch in 0..60 {
                let mut rows = rows(0.0, &mut rng);
                let is_scan = batch < 40;
                if is_scan {
                    rows.slice_mut(ndarray::s![2.., ..]).mapv_inplace(|value| 15.0 + 0.1 * value);
                }
                let teaching = |row| match row >= 2 && batch < 50 {
                    true => Teaching::Suspect,
                    false => Teaching::Welcome,
                };
                let teaching: Vec<Teaching> = (0..30).map(teaching).collect();
                let verdicts = succession.observe(rows.view(), &teaching, &hosts(rows.nrows()));
                if is_scan {
                    found.push(raised(&verdicts[2..]));
                }
            }
        }
        assert!(found.iter().all(|found| *found == 28), "{found:?}");
        let news = succession.news();
        assert!(news.iter().any(|news| matches!(news, News::TookOver(_))), "{news:?}");
    }

    /// A candidate that learnt an attack, however that came, raises no alarm at it: that is why it fails.
    #[test]
    fn what_does_not_find_an_incident_again_does_not_take_over() {
        let trial = Trial { rows: 1000, incident: [300, 0], ..Trial::default() };
        assert!(!trial.is_passed(1e-4));
        assert!(Trial { incident: [300, 290], ..trial }.is_passed(1e-4));
        assert!(Trial { incident: [300, 290], unusual: 20, ..trial }.is_passed(1e-4));
        assert!(!Trial { incident: [300, 290], unusual: 60, ..trial }.is_passed(1e-4));
        assert!(!Trial { incident: [0, 0], anomalies: 4, ..trial }.is_passed(1e-4));
    }

    #[test]
    fn a_change_is_told_and_followed() {
        let mut rng = Xoshiro256Plus::seed_from_u64(4);
        let mut succession = Succession::of(learnt(0.0, &mut rng));
        for _ in 0..200 {
            anomalies(&mut succession, &rows(0.0, &mut rng));
        }
        assert_eq!(succession.news(), []);
        for _ in 0..100 {
            anomalies(&mut succession, &rows(3.5, &mut rng));
        }
        let news = succession.news();
        assert!(matches!(news[..], [News::Drift { part }] if part > 0.05), "{news:?}");
        for _ in 0..2600 {
            anomalies(&mut succession, &rows(3.5, &mut rng));
        }
        let news = succession.news();
        assert!(news.iter().any(|news| matches!(news, News::TookOver(_))), "{news:?}");
    }
}
