//! A probability that is checked before it is believed: whether those of a model that was learnt elsewhere hold here.
//!
//! The scores of local rows make a second conformal p-value, and the larger of the two counts: what is frequent here is no
//! anomaly, whatever is frequent elsewhere. Whether that one holds is tested on each row before its score is taken in. Until
//! then an anomaly is withheld: its score and probability are in the record, and a flag says so.

use super::calibrate::Calibration;
use super::{Settings, Teaching, Verdict, sample};

/// A probability holds where rows are below it at no more than so many times the rate that it promises. Host windows overlap,
/// so what is rare in one is in two or three of them.
const HELD: f64 = 2.0;

/// The standard deviations that chance may add to that: one test in 700 fails by chance, were the rows independent.
const CHANCE: f64 = 3.0;

/// Batches before a test is passed: four minutes at the usual interval, in which what hosts do now and then comes once.
pub(super) const BATCHES: u64 = 240;

/// Rows before a test is passed.
const ROWS: f64 = 300.0;

/// The probabilities that are tested. Of rarer ones nothing can be said in minutes: there the tail has to be believed.
const LEVELS: [f64; 3] = [0.1, 0.01, 0.001];

/// Rows over which rates are taken; older ones count less.
const RECENT_ROWS: f64 = 2000.0;

/// Whether so many rows of `rows` may be below a probability that holds.
pub(super) fn holds(below: f64, rows: f64, probability: f64) -> bool {
    let expected = HELD * probability * rows;
    below <= 1.0 + expected + CHANCE * expected.sqrt()
}

/// What local rows say of a model from elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Local {
    scores: Calibration,
    batches: u64,
    /// Recent rows that nobody speaks against, and those of them below each level.
    rows: f64,
    below: [f64; LEVELS.len()],
    is_believed: bool,
}

impl Local {
    /// Nothing is known yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let scores = Calibration::new(&[], settings.calibration_scores, settings.alpha);
        Self { scores, batches: 0, rows: 0.0, below: [0.0; LEVELS.len()], is_believed: false }
    }

    /// Lets batches without rows go by.
    pub(super) const fn pass(&mut self, batches: u64) {
        self.batches += batches;
    }

    /// Changes the verdicts of a batch to what holds here, and learns from the rows that nobody speaks against. Says whether
    /// the probabilities hold from now on.
    pub(super) fn check(
        &mut self,
        verdicts: &mut [Option<Verdict>],
        teaching: &[Teaching],
        settings: &Settings,
    ) -> bool {
        self.pass(1);
        let clean: Vec<usize> = (0..verdicts.len()).filter(|&row| teaching[row] == Teaching::Welcome).collect();
        let chosen = sample(clean.len(), settings.learnt_rows_per_batch, settings.seed ^ self.batches);
        for verdict in verdicts.iter_mut().flatten() {
            verdict.probability = verdict.probability.max(self.scores.probability(verdict.score));
            // What an operator called an attack is one, however probable.
            if verdict.anomaly && verdict.opinion.is_none() {
                let rare = verdict.probability < settings.alpha;
                verdict.anomaly = rare && self.is_believed;
                verdict.withheld = rare && !self.is_believed;
            }
        }
        let decay = (1.0 - chosen.len() as f64 / RECENT_ROWS).max(0.0);
        self.rows *= decay;
        self.below.iter_mut().for_each(|below| *below *= decay);
        for row in chosen.into_iter().map(|place| clean[place]) {
            let Some(verdict) = &verdicts[row] else { continue };
            self.rows += 1.0;
            for (below, level) in self.below.iter_mut().zip(LEVELS) {
                *below += f64::from(u8::from(verdict.probability < level));
            }
            self.scores.take(verdict.score);
        }
        self.scores.refresh();
        let begins = !self.is_believed && self.batches >= BATCHES && self.rows >= ROWS && self.hold();
        self.is_believed |= begins;
        begins
    }

    fn hold(&self) -> bool {
        self.below.iter().zip(LEVELS).all(|(below, level)| holds(*below, self.rows, level))
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_distr::Exp1;
    use rand_xoshiro::Xoshiro256Plus;

    use super::*;

    /// Verdicts of a model by which nearly all that is here is rare: scores of ordinary rows are 30 and more.
    fn strange(scores: impl Iterator<Item = f64>) -> Vec<Option<Verdict>> {
        let verdict = |score: f64| Verdict {
            cluster: 0,
            score,
            probability: (-score).exp(),
            anomaly: (-score).exp() < 1e-4,
            withheld: false,
            opinion: None,
            reasons: Vec::new(),
        };
        scores.map(verdict).map(Some).collect()
    }

    fn anomalies(verdicts: &[Option<Verdict>]) -> [usize; 2] {
        let count = |of: fn(&Verdict) -> bool| verdicts.iter().flatten().filter(|verdict| of(verdict)).count();
        [count(|verdict| verdict.anomaly), count(|verdict| verdict.withheld)]
    }

    #[test]
    fn what_is_frequent_here_is_no_anomaly_and_what_is_rare_is_withheld_until_that_is_known() {
        let settings = Settings::default();
        let mut local = Local::new(&settings);
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let (mut told, mut before, mut after) = (Vec::new(), [0; 2], [0; 2]);
        for batch in 0..2000 {
            let scores: Vec<f64> = (0..10).map(|_| 30.0 + rng.sample::<f64, _>(Exp1)).collect();
            let mut verdicts = strange(scores.into_iter());
            if local.check(&mut verdicts, &[Teaching::Welcome; 10], &settings) {
                told.push(batch);
            }
            let sum = if told.is_empty() { &mut before } else { &mut after };
            anomalies(&verdicts).into_iter().zip(sum).for_each(|(count, sum)| *sum += count);
        }
        assert_eq!(told, [BATCHES - 1]);
        assert_eq!(before[0], 0, "they are withheld");
        // Of 17,600 rows, at twice the level of 10⁻⁴ and what chance makes.
        assert!(after[0] <= 12 && after[1] == 0, "{after:?}");
        let mut attack = strange([80.0].into_iter());
        local.check(&mut attack, &[Teaching::Suspect], &settings);
        assert_eq!(anomalies(&attack), [1, 0]);
    }

    /// An attack of the first minutes is no anomaly yet, but does not come to be what is ordinary.
    #[test]
    fn an_attack_in_the_meantime_does_not_recalibrate_itself_away() {
        let settings = Settings::default();
        let mut local = Local::new(&settings);
        let mut rng = Xoshiro256Plus::seed_from_u64(2);
        let mut found = [0; 2];
        for _ in 0..2 * BATCHES {
            let ordinary = (0..10).map(|_| rng.sample::<f64, _>(Exp1));
            let mut verdicts = strange(ordinary.chain([50.0; 5]).collect::<Vec<_>>().into_iter());
            let teaching = [[Teaching::Welcome; 5], [Teaching::Welcome; 5], [Teaching::Suspect; 5]].concat();
            local.check(&mut verdicts, &teaching, &settings);
            found = anomalies(&verdicts);
        }
        assert!(local.is_believed);
        assert_eq!(found, [5, 0]);
    }

    #[test]
    fn where_probabilities_do_not_hold_nothing_is_raised() {
        let settings = Settings::default();
        let mut local = Local::new(&settings);
        // Each batch is stranger than all before.
        for batch in 0..1000 {
            let mut verdicts = strange((0..5).map(|row| f64::from(20 * batch + row)));
            assert!(!local.check(&mut verdicts, &[Teaching::Welcome; 5], &settings));
            assert_eq!(anomalies(&verdicts)[0], 0);
        }
    }
}
