//! From a score to a probability: a conformal p-value, with a peaks-over-threshold tail where the ring has no say.
//!
//! The p-value of a score is the share of recent, ordinary, held-out scores that are at least as large
//! (Vovk, Gammerman, Shafer 2005). Below about ten of them it says little, so from there a generalised Pareto
//! distribution fitted to the largest scores extrapolates (Pickands 1975).

use serde::{Deserialize, Serialize};

use super::checked::{Checked, Outcome, SHARES, all_within, any, checked, within};
use super::sample;

/// Fewer scores than this at or above a score, and the tail decides.
const COUNTED: usize = 10;

/// Where a shape is uncertain it is drawn to this one: a little heavier than exponential in the root of the score. The
/// root is a distance on logarithmic scales, so amounts with the power-law tails of network traffic (Crovella and
/// Bestavros 1997) have exponential ones there.
const PRIOR_SHAPE: f64 = 0.05;

/// The weight of the prior shape, in excesses. Rows of one host resemble each other from second to second, so a few
/// dozen excesses are far fewer independent ones.
const PRIOR_EXCESSES: f64 = 30.0;

/// No shape above this: scaled values are clipped, so no true tail is that heavy, and one odd second during warm-up
/// must not make every later oddity ordinary.
const SHAPE_LIMIT: f64 = 0.2;

/// No tail scale below this, in units of the root of the score: among a few hundred rows that are nearly equal there is
/// no telling how far the next one is.
const SCALE_FLOOR: f64 = 0.1;

/// Anomalies enter the ring at no more than this many times the rate at which chance makes them: enough that a
/// threshold that is too low finds its way up, and little enough that an attack stays an attack.
const ENTERING_ANOMALIES: f64 = 2.0;

/// A probability below this is odd: no anomaly, but seldom.
const ODD: f64 = 0.1;

/// Rows below these probabilities enter the ring at no more than so many times the rate at which chance makes them: at
/// twice that the ring follows a shift, and the rarer they are the less, or the oddest of a row of attacks would make the
/// next one ordinary.
const TIERS: [(f64, f64); 3] = [(ODD, 2.0), (ODD / 10.0, 1.25), (ODD / 100.0, 1.25)];

/// Scores that a calibration can be made to rest on.
pub(super) const MOST_SCORES: usize = 1 << 20;

/// The rows that may be saved up for entering.
const CREDIT_LIMIT: f64 = 5.0;

/// An anomaly with less than this part of the alarm level is too far to enter. One that does enters as if it were just an
/// anomaly: a few that are far would make a tail behind which the next attack is ordinary.
const EXTREME: f64 = 0.01;

/// The recent scores of ordinary rows, each computed before its row taught the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Recent", into = "Recent")]
pub(super) struct Calibration {
    recent: Recent,
    sorted: Vec<f64>,
    tail: Tail,
}

/// What is kept of a calibration; the rest follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Recent {
    alpha: f64,
    capacity: usize,
    scores: Vec<f64>,
    /// The place of the oldest score, which the next one replaces.
    next: usize,
    /// How many of the oldest scores are stand-ins: of rows that clusters fitted on the other rows of the warm-up scored.
    /// The ring does not grow before scores of the model that is in use have taken their places.
    stand_ins: usize,
    /// How many anomalies may enter, see [`Calibration::record`].
    anomalies: Credit,
    /// How many rows below each of the tiers may.
    odd: [Credit; TIERS.len()],
}

checked!(Recent);

impl Checked for Recent {
    const NAME: &str = "calibration";

    fn check(&self) -> Outcome {
        let scores = self.scores.len();
        within("alpha", self.alpha, SHARES)?;
        within("capacity", self.capacity as f64, 1.0..=MOST_SCORES as f64)?;
        within("the number of scores", scores as f64, 0.0..=self.capacity as f64)?;
        within("next", self.next as f64, 0.0..=scores.saturating_sub(1) as f64)?;
        within("stand_ins", self.stand_ins as f64, 0.0..=scores as f64)?;
        all_within("scores", &self.scores, &any())?;
        let credits = self.odd.iter().chain([&self.anomalies]).map(|credit| &credit.0);
        all_within("anomalies or odd", credits, &(0.0..=CREDIT_LIMIT))
    }
}

impl Checked for Calibration {
    const NAME: &str = Recent::NAME;

    fn check(&self) -> Outcome {
        self.recent.check()
    }
}

/// A right to enter the ring, earned in small parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Credit(f64);

impl Credit {
    fn earn(&mut self, part: f64) {
        self.0 = (self.0 + part).min(CREDIT_LIMIT);
    }

    /// Spends one of each, if there is one of each.
    fn spend<'a>(credits: impl IntoIterator<Item = &'a mut Self>) -> bool {
        let mut credits: Vec<&mut Self> = credits.into_iter().collect();
        let enough = credits.iter().all(|credit| credit.0 >= 1.0);
        if enough {
            credits.iter_mut().for_each(|credit| credit.0 -= 1.0);
        }
        enough
    }
}

/// A generalised Pareto distribution of the excesses of a score's root over `start`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tail {
    start: f64,
    /// The probability of exceeding `start`.
    mass: f64,
    scale: f64,
    shape: f64,
}

/// The scale on which tails are fitted: a distance where it is large, and no more sensitive than the score near zero.
fn root(score: f64) -> f64 {
    (1.0 + score.max(0.0)).sqrt()
}

/// The inverse of [`root`].
fn score_of(root: f64) -> f64 {
    root * root - 1.0
}

impl Calibration {
    /// Starts from held-out `scores` of ordinary rows, of too many from some of all times; rows with a p-value below `alpha`
    /// are anomalies.
    #[must_use]
    pub(super) fn new(scores: &[f64], capacity: usize, alpha: f64) -> Self {
        let scores: Vec<f64> = sample(scores.len(), capacity, 0).into_iter().map(|place| scores[place]).collect();
        let (anomalies, odd, stand_ins) = (Credit::default(), Default::default(), scores.len());
        Recent { alpha, capacity: capacity.max(1), scores, next: 0, stand_ins, anomalies, odd }.into()
    }

    /// On how many scores the probability rests.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The probability that an ordinary row scores at least `score`.
    #[must_use]
    pub(super) fn probability(&self, score: f64) -> f64 {
        let n = self.sorted.len() as f64 + 1.0;
        let above = self.sorted.len() - self.sorted.partition_point(|s| *s < score);
        let conformal = (1 + above) as f64 / n;
        if above >= COUNTED || root(score) <= self.tail.start {
            return conformal;
        }
        // What the ring has seen is not rarer than that, whatever the tail says.
        self.tail.exceeds(score).clamp(above as f64 / n, (1 + COUNTED) as f64 / n)
    }

    /// Calls rows below another probability anomalies from now on.
    pub(super) fn set_alpha(&mut self, alpha: f64) {
        self.recent.alpha = alpha;
    }

    /// Whether a row of this probability is an anomaly.
    #[must_use]
    pub(super) fn is_anomaly(&self, probability: f64) -> bool {
        probability < self.recent.alpha
    }

    /// Enters the score of a row that came with `probability`, unless it is too odd; says whether it did.
    ///
    /// If anomalies never entered, each turn of the ring would cut its own tail and flag more. So they do enter, as
    /// long as they are not far beyond the alarm level and not many times as frequent as chance makes them. Odd rows
    /// that are no anomalies each are held to their share too: a flood of them is not what is ordinary.
    pub(super) fn record(&mut self, score: f64, probability: f64) -> bool {
        let alpha = self.recent.alpha;
        let enters = if self.is_anomaly(probability) {
            probability >= EXTREME * alpha && Credit::spend([&mut self.recent.anomalies])
        } else if probability < ODD {
            let tiers = self.recent.odd.iter_mut().zip(TIERS);
            Credit::spend(tiers.filter(|(_, (bound, _))| probability < *bound).map(|(credit, _)| credit))
        } else {
            // Only rows that are not odd earn, so that a flood does not pay for itself.
            self.recent.anomalies.earn(ENTERING_ANOMALIES * alpha / (1.0 - ODD));
            for (credit, (bound, times)) in self.recent.odd.iter_mut().zip(TIERS) {
                credit.earn(times * bound / (1.0 - ODD));
            }
            true
        };
        if enters {
            self.recent.push(if self.is_anomaly(probability) { score.min(self.tail.quantile(alpha)) } else { score });
        }
        enters
    }

    /// Enters a score, however odd.
    pub(super) fn take(&mut self, score: f64) {
        self.recent.push(score);
    }

    /// Takes the scores entered since the last call into account.
    pub(super) fn refresh(&mut self) {
        self.sorted.clone_from(&self.recent.scores);
        self.sorted.sort_unstable_by(f64::total_cmp);
        self.tail = Tail::fit(&self.sorted);
    }
}

impl Recent {
    fn push(&mut self, score: f64) {
        if self.stand_ins == 0 && self.scores.len() < self.capacity {
            self.scores.push(score);
        } else {
            self.scores[self.next] = score;
            self.stand_ins = self.stand_ins.saturating_sub(1);
            // With the last stand-in gone the oldest score is the first again.
            self.next = (self.next + 1) % self.scores.len();
        }
    }
}

impl From<Recent> for Calibration {
    fn from(recent: Recent) -> Self {
        let tail = Tail::fit(&[]);
        let mut calibration = Self { recent, sorted: Vec::new(), tail };
        calibration.refresh();
        calibration
    }
}

impl From<Calibration> for Recent {
    fn from(calibration: Calibration) -> Self {
        calibration.recent
    }
}

impl Tail {
    /// Fits the largest of `sorted` by probability-weighted moments (Hosking and Wallis 1987), which stay sensible
    /// for the few dozen excesses of a short warm-up.
    pub(super) fn fit(sorted: &[f64]) -> Self {
        let n = sorted.len();
        let excesses = (n / 10).min(20 + 2 * n.isqrt()).max(COUNTED).min(n / 2);
        let start = n.checked_sub(excesses + 1).map_or(1.0, |place| root(sorted[place]));
        let mass = (excesses + 1) as f64 / (n + 1) as f64;
        let (mut a0, mut a1) = (0.0, 0.0);
        for (place, score) in sorted[n - excesses..].iter().enumerate() {
            let excess = root(*score) - start;
            a0 += excess / excesses as f64;
            a1 += excess / excesses as f64 * (1.0 - (place as f64 + 0.65) / excesses as f64);
        }
        let shape = shrunk_shape(a0, a1, excesses as f64);
        Self { start, mass, scale: (a0 * (1.0 - shape)).max(SCALE_FLOOR), shape }
    }

    /// The tail of the same start and scale with the largest shape that is deemed possible.
    pub(super) fn at_its_heaviest(self) -> Self {
        Self { shape: SHAPE_LIMIT, ..self }
    }

    /// The probability of exceeding `score`, whose root is above the start.
    fn exceeds(&self, score: f64) -> f64 {
        let excess = (root(score) - self.start) / self.scale;
        // As the shape goes to 0 the distribution goes to the exponential one.
        let beyond =
            if self.shape < 1e-6 { (-excess).exp() } else { (1.0 + self.shape * excess).powf(-1.0 / self.shape) };
        self.mass * beyond
    }

    /// The score that is exceeded with this probability, at least that of the start.
    pub(super) fn quantile(&self, probability: f64) -> f64 {
        let odds = (self.mass / probability).max(1.0);
        let excess = if self.shape < 1e-6 { odds.ln() } else { (odds.powf(self.shape) - 1.0) / self.shape };
        score_of(self.start + self.scale * excess)
    }
}

/// The shape from the first two probability-weighted moments, drawn to the prior and kept within its limits: a negative
/// shape would promise that nothing lies beyond some score.
fn shrunk_shape(a0: f64, a1: f64, excesses: f64) -> f64 {
    let spread = a0 - 2.0 * a1;
    let shape = if spread > 1e-9 * a0.abs() && spread > 0.0 { 2.0 - a0 / spread } else { PRIOR_SHAPE };
    let shape = shape.clamp(-1.0, 1.0);
    ((shape * excesses + PRIOR_SHAPE * PRIOR_EXCESSES) / (excesses + PRIOR_EXCESSES)).clamp(0.0, SHAPE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_distr::{Exp1, StandardNormal};
    use rand_xoshiro::Xoshiro256Plus;

    fn exponential(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = Xoshiro256Plus::seed_from_u64(seed);
        (0..n).map(|_| rng.sample(Exp1)).collect()
    }

    #[test]
    fn ordinary_scores_get_uniform_probabilities() {
        let calibration = Calibration::new(&exponential(2000, 1), 4096, 1e-4);
        let mut probabilities: Vec<f64> =
            exponential(20_000, 2).into_iter().map(|score| calibration.probability(score)).collect();
        probabilities.sort_unstable_by(f64::total_cmp);
        // Kolmogorov–Smirnov distance to the uniform distribution; 1.36/√n bounds it at 5 % for either sample.
        let n = probabilities.len() as f64;
        let distance =
            probabilities.iter().enumerate().map(|(i, p)| (p - (i as f64 + 0.5) / n).abs()).fold(0.0, f64::max);
        assert!(distance < 1.36 / 2000.0_f64.sqrt() + 1.36 / n.sqrt(), "{distance}");
    }

    #[test]
    fn the_tail_extrapolates_exponential_scores() {
        let calibration = Calibration::new(&exponential(4000, 3), 4096, 1e-4);
        for (score, orders) in [(9.0_f64, 0.7), (14.0, 1.8)] {
            let truth = (-score).exp().log10();
            let found = calibration.probability(score).log10();
            assert!((found - truth).abs() < orders, "10^{found} for 10^{truth}");
        }
    }

    #[test]
    fn probabilities_fall_with_the_score_and_stay_positive() {
        for n in [0, 1, 2, 5, 15, 40, 300, 3000] {
            let calibration = Calibration::new(&exponential(n, 4), 4096, 1e-4);
            let mut before = 1.0;
            for step in 0..400 {
                let probability = calibration.probability(f64::from(step) * 0.1 - 1.0);
                assert!(probability > 0.0 && probability <= before, "{n} scores, step {step}: {probability}");
                before = probability;
            }
        }
    }

    #[test]
    fn what_the_ring_has_seen_is_not_called_rarer_than_that() {
        let mut scores = exponential(299, 5);
        scores.push(1000.0);
        let calibration = Calibration::new(&scores, 4096, 1e-4);
        assert!(calibration.probability(1000.0) >= 1.0 / 301.0);
        assert!(calibration.probability(1e6) < 1e-4);
    }

    #[test]
    fn degenerate_scores_have_a_tail() {
        for scores in [vec![2.0; 300], vec![0.0; 300], vec![], vec![1.0], vec![0.0, 1e9], vec![-3.0; 12]] {
            let calibration = Calibration::new(&scores, 4096, 1e-4);
            let start = scores.last().copied().unwrap_or(0.0);
            let (near, far) = (calibration.probability(start), calibration.probability(start + 1e12));
            assert!(near.is_finite() && near > far && far >= 0.0, "{scores:?}: {near} {far}");
            assert!(calibration.tail.quantile(1e-6).is_finite());
        }
    }

    #[test]
    fn the_tails_quantiles_have_their_probability() {
        let calibration = Calibration::new(&exponential(2000, 6), 4096, 1e-4);
        for probability in [1e-3, 1e-4, 1e-6] {
            let found = calibration.tail.exceeds(calibration.tail.quantile(probability));
            assert!((found / probability - 1.0).abs() < 1e-9, "{found} for {probability}");
        }
    }

    /// Runs a ring over fresh normal scores for many turns and returns the rate of anomalies in the last ones.
    fn rate_after_many_turns(alpha: f64) -> f64 {
        let mut rng = Xoshiro256Plus::seed_from_u64(7);
        let mut calibration =
            Calibration::new(&rng.clone().sample_iter(StandardNormal).take(1000).collect::<Vec<_>>(), 1000, alpha);
        let (turns, batch) = (600, 100);
        let mut flagged = 0;
        for turn in 0..turns {
            for _ in 0..batch {
                let score: f64 = rng.sample(StandardNormal);
                let probability = calibration.probability(score);
                flagged += u32::from(turn >= turns / 3 && calibration.is_anomaly(probability));
                calibration.record(score, probability);
            }
            calibration.refresh();
        }
        f64::from(flagged) / f64::from(turns * 2 / 3 * batch)
    }

    #[test]
    fn the_ring_does_not_cut_its_own_tail() {
        for alpha in [0.05, 0.01] {
            let rate = rate_after_many_turns(alpha);
            assert!(rate > alpha / 1.5 && rate < alpha * 1.5, "{rate} for {alpha}");
        }
    }

    #[test]
    fn a_lasting_attack_does_not_become_ordinary() {
        let mut calibration = Calibration::new(&exponential(1000, 8), 1000, 1e-3);
        for batch in 0..200 {
            for score in exponential(10, 9 + batch).into_iter().chain([500.0; 10]) {
                calibration.record(score, calibration.probability(score));
            }
            calibration.refresh();
        }
        assert!(calibration.probability(500.0) < 1e-6);
        assert!(calibration.probability(5.0) > 1e-3);
    }

    #[test]
    fn the_ring_follows_a_slow_shift_and_forgets() {
        let mut calibration = Calibration::new(&exponential(500, 10), 500, 1e-3);
        for batch in 0..400_u64 {
            for score in exponential(10, 100 + batch) {
                let score = score + batch as f64 * 0.01;
                calibration.record(score, calibration.probability(score));
            }
            calibration.refresh();
        }
        assert_eq!(calibration.len(), 500);
        assert!((calibration.probability(4.7) - 0.5).abs() < 0.2, "{}", calibration.probability(4.7));
    }
}
