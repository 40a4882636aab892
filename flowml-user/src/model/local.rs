//! A probability that is checked before it is believed: whether those of a model that was learnt elsewhere hold here.
//!
//! The scores of local rows make a second conformal p-value, and the larger of the two counts: what is frequent here is no
//! anomaly, whatever is frequent elsewhere. Whether that one holds is tested on each row before its score is taken in. Until
//! then an anomaly is withheld: its score and probability are in the record, and a flag says so.
//!
//! A host does not vote on itself. Where the model's own probabilities hold for all other hosts here, and one host is rare by them
//! most of the time, it stands out: its rows are judged by the model alone, and enter nothing. So one loud attacker that was there
//! from the start is not what is ordinary. Where the model does not hold for the others, one more host says nothing, and it is
//! measured by local scores as all are.

use std::collections::HashMap;

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

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

/// Rows of a host before it may stand out.
const KNOWN_ROWS: f64 = 30.0;

/// Other hosts from which one may stand out.
const OTHERS: usize = 8;

/// Hosts whose rows are counted by themselves.
const HOSTS: usize = 4096;

/// A host with fewer recent rows is forgotten.
const FORGOTTEN_ROWS: f64 = 0.25;

/// Whether so many rows of `rows` may be below a probability that holds.
pub(super) fn holds(below: f64, rows: f64, probability: f64) -> bool {
    let expected = HELD * probability * rows;
    below <= 1.0 + expected + CHANCE * expected.sqrt()
}

/// Recent rows, and how many of them were below each level.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Rates {
    rows: f64,
    below: [f64; LEVELS.len()],
}

impl Rates {
    fn add(&mut self, probability: f64) {
        self.rows += 1.0;
        for (below, level) in self.below.iter_mut().zip(LEVELS) {
            *below += f64::from(u8::from(probability < level));
        }
    }

    fn decay(&mut self, by: f64) {
        self.rows *= by;
        self.below.iter_mut().for_each(|below| *below *= by);
    }

    fn without(mut self, other: &Self) -> Self {
        self.rows -= other.rows;
        self.below.iter_mut().zip(other.below).for_each(|(below, other)| *below -= other);
        self
    }

    /// Whether the probabilities of enough rows hold.
    fn hold(&self) -> bool {
        let mut levels = self.below.iter().zip(LEVELS);
        self.rows >= ROWS && levels.all(|(below, level)| holds(*below, self.rows, level))
    }

    /// Whether most rows are below the lowest level.
    fn is_rare(&self) -> bool {
        let [.., lowest] = self.below;
        self.rows >= KNOWN_ROWS && 2.0 * lowest >= self.rows
    }
}

/// What local rows say of a model from elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Local {
    scores: Calibration,
    batches: u64,
    /// Of the rows that nobody speaks against, by the probabilities that count here.
    checked: Rates,
    /// Of the same rows and those of hosts that stand out, by the model's own probabilities …
    own: Rates,
    /// … and of each host.
    hosts: HashMap<Address, Rates, RandomState>,
    is_believed: bool,
}

impl Local {
    /// Nothing is known yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let scores = Calibration::new(&[], settings.calibration_scores, settings.alpha);
        let (checked, own, hosts) = Default::default();
        Self { scores, batches: 0, checked, own, hosts, is_believed: false }
    }

    /// Lets batches without rows go by.
    pub(super) const fn pass(&mut self, batches: u64) {
        self.batches += batches;
    }

    /// Changes the verdicts of a batch to what holds here, and learns from the rows that nobody speaks against; `hosts` are those
    /// that are responsible for the rows. Says whether the probabilities hold from now on.
    pub(super) fn check(
        &mut self,
        verdicts: &mut [Option<Verdict>],
        teaching: &[Teaching],
        hosts: &[Address],
        settings: &Settings,
    ) -> bool {
        self.pass(1);
        let clean: Vec<usize> = (0..verdicts.len()).filter(|&row| teaching[row] == Teaching::Welcome).collect();
        let chosen = sample(clean.len(), settings.learnt_rows_per_batch, settings.seed ^ self.batches);
        let decay = (1.0 - chosen.len() as f64 / RECENT_ROWS).max(0.0);
        self.checked.decay(decay);
        self.own.decay(decay);
        self.hosts.retain(|_, rates| {
            rates.decay(decay);
            rates.rows >= FORGOTTEN_ROWS
        });
        let own: Vec<Option<f64>> = verdicts.iter().map(|verdict| Some(verdict.as_ref()?.probability)).collect();
        let standing_out: Vec<bool> = hosts.iter().map(|host| self.stands_out(*host)).collect();
        for (verdict, stands_out) in verdicts.iter_mut().zip(&standing_out) {
            let Some(verdict) = verdict else { continue };
            if !stands_out {
                verdict.probability = verdict.probability.max(self.scores.probability(verdict.score));
            }
            // What an operator called an attack is one, however probable.
            if verdict.anomaly && verdict.opinion.is_none() {
                let rare = verdict.probability < settings.alpha;
                let is_believed = self.is_believed || *stands_out;
                verdict.anomaly = rare && is_believed;
                verdict.withheld = rare && !is_believed;
            }
        }
        for row in chosen.into_iter().map(|place| clean[place]) {
            let (Some(verdict), Some(probability)) = (&verdicts[row], own[row]) else { continue };
            self.own.add(probability);
            if self.hosts.len() < HOSTS || self.hosts.contains_key(&hosts[row]) {
                self.hosts.entry(hosts[row]).or_default().add(probability);
            }
            if !standing_out[row] {
                self.checked.add(verdict.probability);
                self.scores.take(verdict.score);
            }
        }
        self.scores.refresh();
        let begins = !self.is_believed && self.batches >= BATCHES && self.checked.hold();
        self.is_believed |= begins;
        begins
    }

    /// Whether a host is rare most of the time where the model holds for all others.
    fn stands_out(&self, host: Address) -> bool {
        self.batches >= BATCHES
            && self.hosts.len() > OTHERS
            && self.hosts.get(&host).is_some_and(|rates| rates.is_rare() && self.own.without(rates).hold())
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

    /// So many different ones.
    fn hosts(count: u32) -> Vec<Address> {
        (0..count).map(Address::from_v4).collect()
    }

    /// A host that is rare from the first batch on, of which no test speaks, is found where the model fits all others, and their
    /// probabilities are what they would be without it. Where it fits nobody, it says nothing.
    #[test]
    fn one_loud_host_does_not_recalibrate_itself_away() {
        let settings = Settings::default();
        for (least, raised) in [(0.0, true), (30.0, false)] {
            let mut local = Local::new(&settings);
            let mut rng = Xoshiro256Plus::seed_from_u64(3);
            let (mut found, mut others) = (0, 0);
            for batch in 0..2 * BATCHES {
                let ordinary = (0..12).map(|_| least + rng.sample::<f64, _>(Exp1));
                let mut verdicts = strange(ordinary.chain([80.0]).collect::<Vec<_>>().into_iter());
                local.check(&mut verdicts, &[Teaching::Welcome; 13], &hosts(13), &settings);
                if batch >= BATCHES {
                    found += anomalies(&verdicts[12..])[0];
                    others += anomalies(&verdicts[..12])[0];
                }
            }
            assert_eq!(found, if raised { BATCHES as usize } else { 0 }, "{least}");
            assert!(local.is_believed && others <= 4, "{least}: {others}");
        }
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
            if local.check(&mut verdicts, &[Teaching::Welcome; 10], &hosts(10), &settings) {
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
        local.check(&mut attack, &[Teaching::Suspect], &hosts(1), &settings);
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
            local.check(&mut verdicts, &teaching, &hosts(15), &settings);
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
            assert!(!local.check(&mut verdicts, &[Teaching::Welcome; 5], &hosts(5), &settings));
            assert_eq!(anomalies(&verdicts)[0], 0);
        }
    }
}
