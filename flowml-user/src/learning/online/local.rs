//! Checks whether the probabilities of a model that was trained on other traffic hold for local traffic.
//!
//! The scores of local rows give a second conformal p-value, and the larger of the two p-values is used: what is
//! frequent in local traffic is no anomaly, whatever is frequent in other traffic. Each row tests whether that
//! probability holds, before its score is added. Until the test is passed, anomalies are withheld: score and
//! probability are in the record, and a flag identifies them.
//!
//! A host must not influence its own verdict. If the model's own probabilities hold for all other local hosts, and one
//! host is rare by them most of the time, that host stands out. Its rows are scored by the model alone and are not
//! added. So one loud attacker that was active from the start does not become normal. If the model does not hold for
//! the others, a rare host is no evidence, and it is scored with local scores like all others.

use std::collections::HashMap;

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::verdict::{Eligibility, Verdict};
use crate::learning::calibration::probability::Calibration;
use crate::learning::sample::sample;

/// A probability holds if rows are below it at no more than this multiple of the rate that it states. Host windows
/// overlap, so what is rare in one window is in two or three of them.
const HELD: f64 = 2.0;

/// The number of standard deviations that are added for chance. If rows were independent, one test in 700 would fail by
/// chance.
const CHANCE: f64 = 3.0;

/// Number of batches before a test can be passed: four minutes at the default interval. Occasional behaviour of hosts
/// occurs once in that time.
pub(crate) const BATCHES: u64 = 240;

/// Number of rows before a test can be passed.
const ROWS: f64 = 300.0;

/// The probabilities that are tested. Lower probabilities cannot be tested within minutes. For them the fitted tail is
/// used without a test.
const LEVELS: [f64; 3] = [0.1, 0.01, 0.001];

/// Number of rows over which rates are computed. Older rows are down-weighted.
const RECENT_ROWS: f64 = 2000.0;

/// Number of rows of a host before it may stand out.
const KNOWN_ROWS: f64 = 30.0;

/// More other hosts than this must be known before one can stand out.
const OTHERS: usize = 8;

/// The largest number of hosts whose rows are counted individually.
const HOSTS: usize = 4096;

/// A host with fewer recent rows than this is dropped.
const FORGOTTEN_ROWS: f64 = 0.25;

/// Whether `below` of `rows` rows may be below `probability` if that probability holds.
pub(crate) fn holds(below: f64, rows: f64, probability: f64) -> bool {
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

    /// Whether there are enough rows and the probabilities hold.
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

/// The evidence of local rows about a model that was trained on other traffic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Local {
    scores: Calibration,
    batches: u64,
    /// Rates of unsuspicious rows by the local probabilities.
    checked: Rates,
    /// Rates by the model's own probabilities, of unsuspicious rows and of rows of hosts with many anomalies.
    own: Rates,
    /// The same rates of each host.
    hosts: HashMap<Address, Rates, RandomState>,
    is_believed: bool,
}

impl Local {
    /// Starts without any evidence.
    pub(crate) fn new(settings: &Settings) -> Self {
        let scores = Calibration::new(&[], settings.calibration_scores, settings.alpha);
        let (checked, own, hosts) = Default::default();
        Self { scores, batches: 0, checked, own, hosts, is_believed: false }
    }

    /// Counts batches without rows.
    pub(crate) const fn pass(&mut self, batches: u64) {
        self.batches += batches;
    }

    /// Corrects the verdicts of a batch by the local probabilities, and adds the unsuspicious rows. `hosts` has the
    /// host that is responsible for each row. Returns whether the probabilities hold from now on.
    pub(crate) fn check(
        &mut self,
        verdicts: &mut [Option<Verdict>],
        eligibility: &[Eligibility],
        hosts: &[Address],
        settings: &Settings,
    ) -> bool {
        self.pass(1);
        let clean: Vec<usize> = (0..verdicts.len()).filter(|&row| eligibility[row] == Eligibility::Welcome).collect();
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
            // A row that an operator labelled as an attack is an anomaly at any probability.
            if verdict.anomaly && verdict.class.is_none() {
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

    /// Whether a host is rare most of the time although the model holds for all others.
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

    /// Verdicts of a model for which nearly all local rows are rare: scores of normal rows are 30 or more.
    fn strange(scores: impl Iterator<Item = f64>) -> Vec<Option<Verdict>> {
        let verdict = |score: f64| Verdict {
            cluster: 0,
            score,
            probability: (-score).exp(),
            anomaly: (-score).exp() < 1e-4,
            withheld: false,
            class: None,
            reasons: Vec::new(),
        };
        scores.map(verdict).map(Some).collect()
    }

    fn anomalies(verdicts: &[Option<Verdict>]) -> [usize; 2] {
        let count = |of: fn(&Verdict) -> bool| verdicts.iter().flatten().filter(|verdict| of(verdict)).count();
        [count(|verdict| verdict.anomaly), count(|verdict| verdict.withheld)]
    }

    /// This many different hosts.
    fn hosts(count: u32) -> Vec<Address> {
        (0..count).map(Address::from_v4).collect()
    }

    /// A host that is rare from the first batch on and that no test reports. It is detected if the model fits all other
    /// hosts, and their probabilities are as without it. If the model fits no host, a rare host is no evidence.
    #[test]
    fn one_loud_host_does_not_become_normal_by_its_own_rows() {
        let settings = Settings::default();
        for (least, raised) in [(0.0, true), (30.0, false)] {
            let mut local = Local::new(&settings);
            let mut rng = Xoshiro256Plus::seed_from_u64(3);
            let (mut found, mut others) = (0, 0);
            for batch in 0..2 * BATCHES {
                let normal = (0..12).map(|_| least + rng.sample::<f64, _>(Exp1));
                let mut verdicts = strange(normal.chain([80.0]).collect::<Vec<_>>().into_iter());
                local.check(&mut verdicts, &[Eligibility::Welcome; 13], &hosts(13), &settings);
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
    fn frequent_local_rows_are_no_anomalies_and_rare_ones_are_withheld_until_probabilities_hold() {
        let settings = Settings::default();
        let mut local = Local::new(&settings);
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let (mut reported, mut before, mut after) = (Vec::new(), [0; 2], [0; 2]);
        for batch in 0..2000 {
            let scores: Vec<f64> = (0..10).map(|_| 30.0 + rng.sample::<f64, _>(Exp1)).collect();
            let mut verdicts = strange(scores.into_iter());
            if local.check(&mut verdicts, &[Eligibility::Welcome; 10], &hosts(10), &settings) {
                reported.push(batch);
            }
            let sum = if reported.is_empty() { &mut before } else { &mut after };
            anomalies(&verdicts).into_iter().zip(sum).for_each(|(count, sum)| *sum += count);
        }
        assert_eq!(reported, [BATCHES - 1]);
        assert_eq!(before[0], 0, "they are withheld");
        // The limit for 17,600 rows is twice the rate of 10⁻⁴, plus a margin for chance.
        assert!(after[0] <= 12 && after[1] == 0, "{after:?}");
        let mut attack = strange([80.0].into_iter());
        local.check(&mut attack, &[Eligibility::Suspect], &hosts(1), &settings);
        assert_eq!(anomalies(&attack), [1, 0]);
    }

    /// An attack in the first minutes is withheld, but does not become normal.
    #[test]
    fn an_early_attack_does_not_become_normal_by_its_own_rows() {
        let settings = Settings::default();
        let mut local = Local::new(&settings);
        let mut rng = Xoshiro256Plus::seed_from_u64(2);
        let mut found = [0; 2];
        for _ in 0..2 * BATCHES {
            let normal = (0..10).map(|_| rng.sample::<f64, _>(Exp1));
            let mut verdicts = strange(normal.chain([50.0; 5]).collect::<Vec<_>>().into_iter());
            let eligibility =
                [[Eligibility::Welcome; 5], [Eligibility::Welcome; 5], [Eligibility::Suspect; 5]].concat();
            local.check(&mut verdicts, &eligibility, &hosts(15), &settings);
            found = anomalies(&verdicts);
        }
        assert!(local.is_believed);
        assert_eq!(found, [5, 0]);
    }

    #[test]
    fn no_anomaly_is_raised_while_probabilities_do_not_hold() {
        let settings = Settings::default();
        let mut local = Local::new(&settings);
        // Each batch is more unusual than all before.
        for batch in 0..1000 {
            let mut verdicts = strange((0..5).map(|row| f64::from(20 * batch + row)));
            assert!(!local.check(&mut verdicts, &[Eligibility::Welcome; 5], &hosts(5), &settings));
            assert_eq!(anomalies(&verdicts)[0], 0);
        }
    }
}
