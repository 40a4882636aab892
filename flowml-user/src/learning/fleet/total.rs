//! Sums that are compensated for rounding, and the merged statistics of a cluster.

use super::row::StatisticsRow;
use crate::learning::statistics::sketch::BINS;

/// A sum with the part that rounding has left out (Neumaier 1974). Its error does not grow with the number of summands.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: f64,
    left_out: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.left_out +=
            if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
    }

    fn value(self) -> f64 {
        self.sum + self.left_out
    }
}

/// The merged statistics of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Total {
    rows: u64,
    distance: Sum,
    sums: Vec<Sum>,
    squares: Vec<Sum>,
    scores: Vec<u64>,
}

impl Total {
    pub(super) fn new(width: usize) -> Self {
        let sums = vec![Sum::default(); width];
        Self { rows: 0, distance: Sum::default(), squares: sums.clone(), sums, scores: vec![0; BINS] }
    }

    /// Adds a row whose values were checked.
    pub(super) fn add(&mut self, row: &StatisticsRow) {
        self.rows = self.rows.saturating_add(row.rows);
        self.distance.add(row.distance);
        for (own, values) in [(&mut self.sums, &row.sums), (&mut self.squares, &row.squares)] {
            own.iter_mut().zip(values).for_each(|(sum, value)| sum.add(*value));
        }
        for (own, count) in self.scores.iter_mut().zip(&row.scores) {
            *own = own.saturating_add(*count);
        }
    }

    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn distance(&self) -> f64 {
        self.distance.value()
    }

    /// For each encoded feature, the sum of its values and of their squares.
    pub(super) fn sums(&self) -> impl Iterator<Item = (f64, f64)> {
        self.sums.iter().zip(&self.squares).map(|(sum, square)| (sum.value(), square.value()))
    }

    pub(super) fn scores(&self) -> &[u64] {
        &self.scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_keeps_what_rounding_leaves_out() {
        let mut sum = Sum::default();
        [1.0, 1e100, 1.0, -1e100].into_iter().for_each(|value| sum.add(value));
        assert_eq!(sum.value(), 2.0);
        let mut tenths = Sum::default();
        (0..1_000_000).for_each(|_| tenths.add(0.1));
        assert_eq!(tenths.value(), 100_000.0);
    }
}
