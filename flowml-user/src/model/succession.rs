//! The learner that judges, and the one beside it that has to prove itself before it takes over.
//!
//! A model that was learnt elsewhere, or long ago, is better than none and worse than one of here and now. So where the
//! model at hand is from elsewhere, or finds that things have changed, another is learnt beside it: first from the rows
//! that the one in use does not suspect, then on trial, in which both judge the same rows. It takes over if it raises no
//! more alarms.

use std::fmt;

use ndarray::ArrayView2;

use super::{ClusterSummary, Learner, Settings, Status, Teaching, Verdict};

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
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// What was learnt here judges from now on.
    TookOver {
        /// Rows that both judged.
        rows: u64,
        /// Those of them that the new one calls anomalies.
        new: u64,
        /// Those of them that the old one called anomalies.
        old: u64,
    },
    /// What was learnt beside raised more alarms; another one is begun.
    Failed {
        /// As above.
        rows: u64,
        /// As above.
        new: u64,
        /// As above.
        old: u64,
    },
    /// Most of what was there since the start is unusual to the model in use.
    Suspicious {
        /// The part that is, 0–1.
        part: f64,
    },
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
            Self::TookOver { rows, new, old } => write!(
                f,
                "the model of this host's own traffic takes over: {new} anomalies in {rows} rows where the one before found {old}"
            ),
            Self::Failed { rows, new, old } => write!(
                f,
                "the model learnt beside finds {new} anomalies in {rows} rows where the one in use finds {old}: that stays, and another is learnt"
            ),
            Self::Suspicious { part } => write!(
                f,
                "suspicious baseline: {:.0} % of what was seen is unusual to the model in use; either the traffic here is unlike what it learnt, or an attack has lasted all the time; if it goes on like this, another model will learn from all of it",
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
#[derive(Clone, Debug)]
pub struct Succession {
    acting: Learner,
    shadow: Option<Shadow>,
    drift: Drift,
    news: Vec<News>,
    /// Whether nothing is learnt.
    held: bool,
}

/// A learner on trial.
#[derive(Clone, Debug)]
struct Shadow {
    learner: Learner,
    batches: u32,
    rows: u64,
    /// Rows that it calls anomalies, and those that the acting one calls so.
    alarms: [u64; 2],
    /// Whether it was told that the baseline is suspicious.
    told: bool,
}

impl Shadow {
    fn new(learner: Learner) -> Self {
        Self { learner, batches: 0, rows: 0, alarms: [0; 2], told: false }
    }

    /// Lets it see what the acting learner judged.
    fn observe(
        &mut self,
        rows: ArrayView2<'_, f64>,
        teaching: &[Teaching],
        acting: &[Option<Verdict>],
    ) -> Option<News> {
        let unusual = |row: usize| acting[row].as_ref().is_some_and(|verdict| verdict.probability < UNUSUAL);
        // Once it judges, it judges for itself what is unusual.
        let in_warm_up = self.learner.fitted().is_none();
        let teaching = |row: usize| match teaching[row] {
            Teaching::Welcome if in_warm_up && unusual(row) => Teaching::Suspect,
            other => other,
        };
        let own = self.learner.observe_choosing(rows, teaching);
        let alarms = |verdicts: &[Option<Verdict>]| verdicts.iter().flatten().filter(|own| own.anomaly).count() as u64;
        if own.iter().any(Option::is_some) {
            self.batches += 1;
            self.rows += own.len() as u64;
            self.alarms[0] += alarms(&own);
            self.alarms[1] += alarms(acting);
        }
        let part = self.learner.overdue().filter(|_| !self.told)?;
        self.told = true;
        Some(News::Suspicious { part })
    }

    /// What came of the trial, once it is over.
    fn outcome(&self) -> Option<News> {
        let (rows, [new, old]) = (self.rows, self.alarms);
        let over = self.batches >= TRIAL_BATCHES && rows >= TRIAL_ROWS;
        // What chance makes is no failure.
        let chance = 1 + (2.0 * self.learner.settings().alpha * rows as f64) as u64;
        let proven = new <= old + chance;
        over.then_some(if proven { News::TookOver { rows, new, old } } else { News::Failed { rows, new, old } })
    }
}

/// How many of the recent rows are unusual.
#[derive(Clone, Copy, Debug, Default)]
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
        Self { acting, shadow: None, drift: Drift::default(), news: Vec::new(), held: false }
    }

    /// A learner that learnt elsewhere: another is learnt beside it from the start, by these settings.
    #[must_use]
    pub fn from_elsewhere(acting: Learner, settings: Settings) -> Self {
        let shadow = Some(Shadow::new(acting.successor(settings)));
        Self { shadow, ..Self::of(acting) }
    }

    /// From now on models are made beside the path of the rows ([`Learner::learn_beside`]).
    pub fn learn_beside(&mut self) {
        self.acting.learn_beside();
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.learn_beside();
        }
    }

    /// From now on all is judged by what was learnt so far, and nothing more is learnt.
    pub fn hold(&mut self) {
        self.held = true;
        self.shadow = None;
    }

    /// As [`Learner::observe`], by the one that acts; `teaching` says of each row whether it may teach.
    ///
    /// # Panics
    /// If `teaching` has not one element for each row.
    pub fn observe(&mut self, rows: ArrayView2<'_, f64>, teaching: &[Teaching]) -> Vec<Option<Verdict>> {
        assert_eq!(rows.nrows(), teaching.len(), "each row may teach or not");
        if self.held {
            return self.acting.judge(rows);
        }
        let verdicts = self.acting.observe_choosing(rows, |row| teaching[row]);
        if let Some(shadow) = &mut self.shadow {
            self.news.extend(shadow.observe(rows, teaching, &verdicts));
            if let Some(outcome) = shadow.outcome() {
                self.end_trial(outcome);
            }
        } else if let Some(part) = self.drift.observe(&verdicts) {
            self.news.push(News::Drift { part });
            self.begin_shadow();
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
            (News::TookOver { .. }, Some(shadow)) => self.acting = shadow.learner,
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
        if let Some(shadow) = &mut self.shadow {
            shadow.learner.pass(batches);
        }
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

    fn anomalies(succession: &mut Succession, rows: &Array2<f64>) -> usize {
        let welcome = vec![Teaching::Welcome; rows.nrows()];
        succession.observe(rows.view(), &welcome).iter().flatten().filter(|verdict| verdict.anomaly).count()
    }

    #[test]
    fn what_fits_here_takes_over_from_what_came_from_elsewhere() {
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let mut succession = Succession::from_elsewhere(learnt(0.0, &mut rng), settings());
        let mut news = Vec::new();
        for _ in 0..151 {
            anomalies(&mut succession, &rows(40.0, &mut rng));
            news.extend(succession.news());
        }
        assert!(matches!(news[0], News::Suspicious { part } if part > 0.99), "{news:?}");
        assert!(matches!(news[1], News::TookOver { new, old, rows: 900 } if new < 5 && old > 800), "{news:?}");
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
        let mut succession = Succession::from_elsewhere(learnt(0.0, &mut rng), settings());
        // One row in ten is the attacker's, in the warm-up, on trial, and after that.
        let mut found = Vec::new();
        for _ in 0..90 {
            let mut rows = rows(0.0, &mut rng);
            rows.slice_mut(ndarray::s![..3, ..]).fill(15.0);
            found.push(anomalies(&mut succession, &rows));
        }
        assert!(found.iter().all(|found| (3..=5).contains(found)), "{found:?}");
        let news = succession.news();
        // What took over did not learn the attack: to it, too, many rows are unusual.
        assert!(matches!(news[..], [News::TookOver { .. }, News::Drift { .. }]), "{news:?}");
    }

    #[test]
    fn what_raises_more_alarms_does_not_take_over() {
        let mut rng = Xoshiro256Plus::seed_from_u64(3);
        let mut succession = Succession::from_elsewhere(learnt(0.0, &mut rng), settings());
        for _ in 0..30 {
            anomalies(&mut succession, &(rows(0.0, &mut rng) * 0.1));
        }
        for _ in 0..30 {
            anomalies(&mut succession, &(rows(0.0, &mut rng) * 1.2));
        }
        let news = succession.news();
        assert!(matches!(news[..], [News::Failed { new, old, .. }] if new > old), "{news:?}");
        assert!(matches!(succession.shadow_status(), Some(Status::WarmingUp { .. })));
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
        assert!(news.iter().any(|news| matches!(news, News::TookOver { .. })), "{news:?}");
    }
}
