//! Rows that a detector is not trained on, and the probability of a score from their scores.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::probability::Calibration;
use crate::learning::checked::{Checked, Outcome, any, checked, divisor, within};
use crate::learning::preprocess::statistics::{IQR_TO_SIGMA, quantile};
use crate::learning::sample::sample;

/// One of this many rows is held out.
const PARTS: usize = 5;

/// With fewer rows, parts are too small to train on the others.
const MIN_ROWS: usize = 100;

/// The largest number of scores that are kept.
const SCORES: usize = 4096;

/// The largest number of training rows. No detector uses more.
const LEARNT: usize = 50_000;

/// The largest number of held-out rows.
const HELD_OUT: usize = 4 * SCORES;

/// Quartiles closer than this are equal except for rounding.
const LEAST_QUARTILES: f64 = 1e-12;

/// The numbers of the training rows and of the held-out rows, each ascending.
pub(crate) struct Split {
    pub(crate) fit_on: Vec<usize>,
    pub(crate) held_out: Vec<usize>,
}

/// The training rows of the model, and the splits whose held-out scores make the calibration set.
pub(crate) struct Rounds {
    /// The rows that the model is trained on, ascending.
    pub(crate) fit_on: Vec<usize>,
    /// The splits for the calibration set: in each, a model of the training rows scores the held-out rows.
    pub(crate) calibrate_on: Vec<Split>,
}

impl Rounds {
    /// Plans the rounds for rows from these inputs, one input for each row. Rows of one input resemble each other, and
    /// later rows come from other inputs. So with enough inputs, each part of the inputs is scored by a model of the
    /// others, and the final model is trained on all. With few inputs, some rows are held out.
    pub(crate) fn of(inputs: &[u32], seed: u64) -> Self {
        let Some(parts) = parts(inputs) else {
            let held_out = split(inputs.len(), seed);
            return Self { fit_on: held_out.fit_on.clone(), calibrate_on: vec![held_out] };
        };
        let fit_on = sample(inputs.len(), LEARNT, seed);
        let round = |part: &Vec<usize>| {
            let others = fit_on.iter().copied().filter(|row| part.binary_search(row).is_err());
            let held_out = sample(part.len(), HELD_OUT / PARTS, seed).into_iter().map(|place| part[place]);
            Split { fit_on: others.collect(), held_out: held_out.collect() }
        };
        let calibrate_on = parts.iter().map(round).collect();
        Self { fit_on, calibrate_on }
    }

    /// All rows that are used, ascending.
    pub(crate) fn rows(&self) -> Vec<usize> {
        let held_out = self.calibrate_on.iter().flat_map(|split| &split.held_out);
        let mut rows: Vec<usize> = self.fit_on.iter().chain(held_out).copied().collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }
}

/// The rows in parts of similar size, with all rows of an input in one part. `None` if there are few rows or inputs, or
/// if most rows are in one part, because the training set without that part would be too small.
fn parts(inputs: &[u32]) -> Option<Vec<Vec<usize>>> {
    let mut rows_of: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    inputs.iter().enumerate().for_each(|(row, input)| rows_of.entry(*input).or_default().push(row));
    if inputs.len() < MIN_ROWS || rows_of.len() < PARTS {
        return None;
    }
    let mut largest_first: Vec<Vec<usize>> = rows_of.into_values().collect();
    largest_first.sort_by_key(|rows| Reverse(rows.len()));
    let mut parts = vec![Vec::new(); PARTS];
    for rows in largest_first {
        let smallest = parts.iter_mut().min_by_key(|part: &&mut Vec<usize>| part.len());
        smallest.expect("there are parts").extend(rows);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts.iter().all(|part| 2 * part.len() <= inputs.len()).then_some(parts)
}

/// Divides rows into training and held-out rows. Of a very large number, some are neither.
pub(crate) fn split(rows: usize, seed: u64) -> Split {
    let held_out = sample(rows, rows / PARTS, !seed);
    let mut next = held_out.iter().copied().peekable();
    let others: Vec<usize> = (0..rows).filter(|row| next.next_if_eq(row).is_none()).collect();
    let some = |of: Vec<usize>, most| sample(of.len(), most, seed).into_iter().map(|place| of[place]).collect();
    Split { fit_on: some(others, LEARNT), held_out: some(held_out, HELD_OUT) }
}

/// Converts a score to the probability that a normal row has one at least as high.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct CalibrationSet {
    /// The median of the held-out scores, and their spread. The calibration expects scores of about unit spread.
    middle: f64,
    spread: f64,
    calibration: Calibration,
}

checked!(CalibrationSet);

impl Checked for CalibrationSet {
    const NAME: &str = "calibration_set";

    fn check(&self) -> Outcome {
        within("middle", self.middle, any())?;
        within("spread", self.spread, divisor())?;
        self.calibration.check()
    }
}

impl CalibrationSet {
    /// Makes it from the scores of held-out rows.
    pub(crate) fn of(mut scores: Vec<f64>) -> Self {
        let chosen = sample(scores.len(), SCORES, 0);
        let mut sorted: Vec<f64> = scores.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = quantile(&sorted, 0.5);
        let quartiles = quantile(&sorted, 0.75) - quantile(&sorted, 0.25);
        let spread = if quartiles > LEAST_QUARTILES { quartiles / IQR_TO_SIGMA } else { 1.0 };
        scores.iter_mut().for_each(|score| *score = (*score - middle) / spread);
        let kept: Vec<f64> = chosen.into_iter().map(|row| scores[row]).collect();
        // The caller decides what an anomaly is; nothing is recorded here.
        Self { middle, spread, calibration: Calibration::new(&kept, SCORES, 0.0) }
    }

    /// The probability of a score at least this high.
    pub(crate) fn probability(&self, score: f64) -> f64 {
        self.calibration.probability((score - self.middle) / self.spread)
    }

    /// The number of scores on which it is based.
    pub(crate) fn len(&self) -> usize {
        self.calibration.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_trained_on_or_held_out() {
        let Split { fit_on, held_out } = split(103, 7);
        assert_eq!((fit_on.len(), held_out.len()), (83, 20));
        let mut all = [fit_on, held_out].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..103));
    }

    #[test]
    fn of_very_many_rows_a_sample_is_used() {
        let Split { fit_on, held_out } = split(1_000_000, 7);
        assert_eq!((fit_on.len(), held_out.len()), (LEARNT, HELD_OUT));
        assert!(fit_on.is_sorted() && held_out.is_sorted());
        assert!(!fit_on.iter().any(|row| held_out.binary_search(row).is_ok()));
        // The rows are from the whole range.
        assert!(fit_on[0] < 1000 && fit_on[LEARNT - 1] > 999_000);
    }

    #[test]
    fn an_input_is_in_one_part_and_the_parts_have_similar_sizes() {
        assert_eq!(parts(&[0, 0, 1, 2, 3, 3]), None);
        assert_eq!(parts(&[vec![0; 500], (1..100).collect()].concat()), None);
        let inputs: Vec<u32> = (0..40).flat_map(|input| vec![input; 1 + input as usize % 7]).collect();
        let parts = parts(&inputs).expect("there are enough inputs");
        let mut all = parts.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..inputs.len()));
        for (number, part) in parts.iter().enumerate() {
            assert!(part.len().abs_diff(inputs.len() / PARTS) <= 7, "{}", part.len());
            let elsewhere = |row: &usize| {
                parts
                    .iter()
                    .enumerate()
                    .any(|(other, rows)| other != number && rows.iter().any(|own| inputs[*own] == inputs[*row]))
            };
            assert!(!part.iter().any(elsewhere));
        }
        let rounds = Rounds::of(&inputs, 7);
        assert_eq!((rounds.fit_on.len(), rounds.rows().len()), (inputs.len(), inputs.len()));
        for Split { fit_on, held_out } in &rounds.calibrate_on {
            assert_eq!(fit_on.len() + held_out.len(), inputs.len());
            assert!(!fit_on.iter().any(|row| held_out.iter().any(|own| inputs[*own] == inputs[*row])));
        }
    }

    #[test]
    fn the_unit_of_the_scores_does_not_matter() {
        let scores: Vec<f64> = (0..1000).map(|row| f64::from(row) / 1000.0).collect();
        let (small, large) =
            (CalibrationSet::of(scores.iter().map(|s| s * 1e-3).collect()), CalibrationSet::of(scores));
        for score in [0.1, 0.5, 0.99, 1.5, 3.0] {
            assert!((small.probability(score * 1e-3) - large.probability(score)).abs() < 1e-9);
        }
        assert!((large.probability(0.9) - 0.1).abs() < 0.002 && large.probability(3.0) < 1e-3);
    }
}
