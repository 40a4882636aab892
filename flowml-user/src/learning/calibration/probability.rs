//! Converts scores to probabilities: a conformal p-value, and a peaks-over-threshold tail for rare scores.
//!
//! The p-value of a score is the fraction of recent held-out scores of normal rows that are at least as large (Vovk,
//! Gammerman, Shafer 2005). With fewer than about ten such scores it is imprecise. There a generalised Pareto
//! distribution, fitted to the largest scores, extrapolates (Pickands 1975).

use serde::{Deserialize, Serialize};

use super::sorted::Sorted;
use crate::learning::checked::{Checked, Outcome, SHARES, all_within, any, checked, within};
use crate::learning::sample::sample;

/// If fewer scores than this are at least as large as a score, the tail gives its probability.
const COUNTED: usize = 10;

/// The prior of the tail's shape, towards which an uncertain shape is pulled. It is slightly heavier than exponential
/// in the root of the score. That root is a distance on logarithmic scales, on which the power-law tails of network
/// traffic (Crovella and Bestavros 1997) are exponential.
const PRIOR_SHAPE: f64 = 0.05;

/// The weight of the prior shape, as a number of excesses. Rows of one host resemble each other from second to second,
/// so a few dozen excesses contain far fewer independent ones.
const PRIOR_EXCESSES: f64 = 30.0;

/// The largest shape. Scaled values are clipped, so no true tail is heavier. The limit also prevents that one anomalous
/// second of the warm-up makes every later anomaly normal.
const SHAPE_LIMIT: f64 = 0.2;

/// The smallest scale of a tail, in units of the root of the score. A few hundred nearly equal rows do not show how far
/// away the next row can be.
const SCALE_FLOOR: f64 = 0.1;

/// Anomalies enter the ring at most at this multiple of the rate expected by chance. That is enough to raise a
/// threshold that is too low, and too little to make a lasting attack normal.
const ENTERING_ANOMALIES: f64 = 2.0;

/// A probability below this is unusual. Alone it is not an anomaly.
const UNUSUAL: f64 = 0.1;

/// Rows below these probabilities enter the ring at most at these multiples of the rate expected by chance. A multiple
/// of 2 lets the ring follow a shift. Rarer rows get a smaller multiple, otherwise the most unusual rows of one attack
/// would make the next attack normal.
const TIERS: [(f64, f64); 3] = [(UNUSUAL, 2.0), (UNUSUAL / 10.0, 1.25), (UNUSUAL / 100.0, 1.25)];

/// The largest number of scores in a calibration.
pub(crate) const MOST_SCORES: usize = 1 << 20;

/// The largest credit for entering the ring, in rows.
const CREDIT_LIMIT: f64 = 5.0;

/// An anomaly whose probability is below this fraction of the alarm level does not enter the ring. Others enter with
/// the score of the alarm level, because a few extreme scores would make a tail in which the next attack is normal.
const EXTREME: f64 = 0.01;

/// The recent scores of normal rows, each computed before the model was trained on its row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Recent", into = "Recent")]
pub(crate) struct Calibration {
    recent: Recent,
    sorted: Sorted,
    tail: Tail,
}

/// The saved part of a calibration. The other fields are derived from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Recent {
    alpha: f64,
    capacity: usize,
    scores: Vec<f64>,
    /// The index of the oldest score, which the next one replaces.
    next: usize,
    /// Number of the oldest scores that are substitutes: scores of warm-up rows by clusters that were fitted on the
    /// other rows. The ring does not grow until scores of the model in use have replaced them.
    stand_ins: usize,
    /// The credit of anomalies to enter, see [`Calibration::record`].
    anomalies: Credit,
    /// The credit of rows below each tier's probability.
    unusual: [Credit; TIERS.len()],
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
        let credits = self.unusual.iter().chain([&self.anomalies]).map(|credit| &credit.0);
        all_within("anomalies or unusual", credits, &(0.0..=CREDIT_LIMIT))
    }
}

impl Checked for Calibration {
    const NAME: &str = Recent::NAME;

    fn check(&self) -> Outcome {
        self.recent.check()
    }
}

/// The right of one row to enter the ring, earned in fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Credit(f64);

impl Credit {
    fn earn(&mut self, part: f64) {
        self.0 = (self.0 + part).min(CREDIT_LIMIT);
    }

    /// Spends one of each credit if each has at least one, and returns whether it did.
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
pub(crate) struct Tail {
    start: f64,
    /// The probability of exceeding `start`.
    mass: f64,
    scale: f64,
    shape: f64,
}

/// The scale on which tails are fitted: for large scores a distance, near zero as sensitive as the score.
fn root(score: f64) -> f64 {
    (1.0 + score.max(0.0)).sqrt()
}

/// The inverse of [`root`].
fn score_of(root: f64) -> f64 {
    root * root - 1.0
}

impl Calibration {
    /// Starts from held-out `scores` of normal rows. If there are more than `capacity`, a sample over all times is
    /// used. Rows with a p-value below `alpha` are anomalies.
    #[must_use]
    pub(crate) fn new(scores: &[f64], capacity: usize, alpha: f64) -> Self {
        let scores: Vec<f64> = sample(scores.len(), capacity, 0).into_iter().map(|place| scores[place]).collect();
        let (anomalies, unusual, stand_ins) = (Credit::default(), Default::default(), scores.len());
        Recent { alpha, capacity: capacity.max(1), scores, next: 0, stand_ins, anomalies, unusual }.into()
    }

    /// The number of scores on which the probability is based.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.sorted.values().len()
    }

    /// The probability that a normal row scores at least `score`.
    #[must_use]
    pub(crate) fn probability(&self, score: f64) -> f64 {
        let scores = self.len();
        let n = scores as f64 + 1.0;
        let above = scores - self.sorted.below(score);
        let conformal = (1 + above) as f64 / n;
        if above >= COUNTED || root(score) <= self.tail.start {
            return conformal;
        }
        // A score that is in the ring is at least as probable as its frequency there, whatever the tail gives.
        self.tail.exceeds(score).clamp(above as f64 / n, (1 + COUNTED) as f64 / n)
    }

    /// Sets the probability below which a row is an anomaly.
    pub(crate) fn set_alpha(&mut self, alpha: f64) {
        self.recent.alpha = alpha;
    }

    /// Whether a row of this probability is an anomaly.
    #[must_use]
    pub(crate) fn is_anomaly(&self, probability: f64) -> bool {
        probability < self.recent.alpha
    }

    /// Adds the score of a row with this `probability` to the ring unless it is too unusual. Returns the score that was
    /// added.
    ///
    /// If anomalies were never added, the tail of the ring would become shorter and shorter, and alarms more frequent.
    /// So an anomaly is added if it is not far beyond the alarm level, and if anomalies are not many times as frequent
    /// as by chance. Unusual rows that are no anomalies are limited in the same way, because a flood of them is not
    /// normal traffic.
    pub(crate) fn record(&mut self, score: f64, probability: f64) -> Option<f64> {
        let alpha = self.recent.alpha;
        let enters = if self.is_anomaly(probability) {
            probability >= EXTREME * alpha && Credit::spend([&mut self.recent.anomalies])
        } else if probability < UNUSUAL {
            let tiers = self.recent.unusual.iter_mut().zip(TIERS);
            Credit::spend(tiers.filter(|(_, (bound, _))| probability < *bound).map(|(credit, _)| credit))
        } else {
            // Only rows that are not unusual earn credit, so that a flood does not earn its own entry.
            self.recent.anomalies.earn(ENTERING_ANOMALIES * alpha / (1.0 - UNUSUAL));
            for (credit, (bound, times)) in self.recent.unusual.iter_mut().zip(TIERS) {
                credit.earn(times * bound / (1.0 - UNUSUAL));
            }
            true
        };
        enters.then(|| {
            let taken = if self.is_anomaly(probability) { score.min(self.tail.quantile(alpha)) } else { score };
            self.take(taken);
            taken
        })
    }

    /// Adds a score, however unusual it is.
    pub(crate) fn take(&mut self, score: f64) {
        self.sorted.replace(self.recent.push(score), score);
    }

    /// Recomputes the sorted scores and the tail from all scores added so far.
    pub(crate) fn refresh(&mut self) {
        self.sorted.refresh();
        self.tail = Tail::fit(self.sorted.values());
    }
}

impl Recent {
    /// Adds a score and returns the one that it replaces, if the ring does not grow.
    fn push(&mut self, score: f64) -> Option<f64> {
        if self.stand_ins == 0 && self.scores.len() < self.capacity {
            self.scores.push(score);
            return None;
        }
        let replaced = std::mem::replace(&mut self.scores[self.next], score);
        self.stand_ins = self.stand_ins.saturating_sub(1);
        // After the last substitute was replaced, the oldest score is the first one again.
        self.next = (self.next + 1) % self.scores.len();
        Some(replaced)
    }
}

impl From<Recent> for Calibration {
    fn from(recent: Recent) -> Self {
        let sorted = Sorted::new(recent.scores.clone());
        let tail = Tail::fit(sorted.values());
        Self { recent, sorted, tail }
    }
}

impl From<Calibration> for Recent {
    fn from(calibration: Calibration) -> Self {
        calibration.recent
    }
}

impl Tail {
    /// Fits the largest scores of `sorted` by probability-weighted moments (Hosking and Wallis 1987). These stay
    /// reliable with the few dozen excesses of a short warm-up.
    pub(crate) fn fit(sorted: &[f64]) -> Self {
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

    /// The tail with the same start and scale and the largest permitted shape.
    pub(crate) fn at_its_heaviest(self) -> Self {
        Self { shape: SHAPE_LIMIT, ..self }
    }

    /// The probability of exceeding `score`, whose root is above the start.
    fn exceeds(&self, score: f64) -> f64 {
        let excess = (root(score) - self.start) / self.scale;
        // For a shape of 0 the distribution becomes the exponential one.
        let beyond =
            if self.shape < 1e-6 { (-excess).exp() } else { (1.0 + self.shape * excess).powf(-1.0 / self.shape) };
        self.mass * beyond
    }

    /// The score that is exceeded with this probability, at least that of the start.
    pub(crate) fn quantile(&self, probability: f64) -> f64 {
        let odds = (self.mass / probability).max(1.0);
        let excess = if self.shape < 1e-6 { odds.ln() } else { (odds.powf(self.shape) - 1.0) / self.shape };
        score_of(self.start + self.scale * excess)
    }
}

/// The shape from the first two probability-weighted moments, pulled towards the prior and limited. A negative shape
/// would mean that scores above some bound are impossible.
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
    fn normal_scores_get_uniform_probabilities() {
        let calibration = Calibration::new(&exponential(2000, 1), 4096, 1e-4);
        let mut probabilities: Vec<f64> =
            exponential(20_000, 2).into_iter().map(|score| calibration.probability(score)).collect();
        probabilities.sort_unstable_by(f64::total_cmp);
        // Kolmogorov–Smirnov distance to the uniform distribution. It is below 1.36/√n for 95 % of the samples of size
        // n.
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
    fn a_score_in_the_ring_is_at_least_as_probable_as_its_frequency() {
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

    /// The rate of anomalies in the last two thirds of many turns of a ring with fresh normal scores.
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
    fn a_lasting_attack_does_not_become_normal() {
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
