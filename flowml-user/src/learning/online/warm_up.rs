//! The rows from which a learner makes its first model.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::learning::checked::{Outcome, as_many};

/// The largest number of kept rows. When it is exceeded, every second row is dropped, and later rows are thinned
/// equally.
const KEPT: usize = 1 << 16;

/// If more than this fraction of the rows is unusual to the model in use, that model was trained on other traffic, and
/// all rows are trained on. Rows of incidents are not among them.
const MOST_UNUSUAL: f64 = 0.5;

/// A suspicious baseline is reported after `suspect_batches` divided by this number.
const REPORTED_AFTER: u32 = 4;

/// The rows kept for the first fit, in the order of their time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct WarmUp {
    /// Row-major.
    values: Vec<f64>,
    /// The batch of each kept row.
    times: Vec<u32>,
    /// Whether each kept row is unusual to the model in use.
    unusual: Vec<bool>,
    /// Number of rows so far that are in no incident. The kept rows may be a sample of them.
    seen: usize,
    /// One in `2^thinned` of the chosen rows is kept.
    thinned: u32,
    chosen: usize,
    batches: u32,
    /// Number of batches since the start of the last capture.
    settled: u32,
}

impl WarmUp {
    /// Keeps the chosen rows of a batch, unless the settling period is not over. `seen` is the number of rows of the
    /// batch that are in no incident.
    pub(crate) fn collect(
        &mut self,
        rows: ArrayView2<'_, f64>,
        chosen: &[usize],
        seen: usize,
        unusual: impl Fn(usize) -> bool,
        settings: &Settings,
    ) {
        if self.settled >= settings.settling_batches.min(settings.warm_up_batches.saturating_sub(1)) {
            for &row in chosen {
                if self.chosen & ((1 << self.thinned) - 1) == 0 {
                    self.values.extend(rows.row(row));
                    self.times.push(self.batches);
                    self.unusual.push(unusual(row));
                }
                self.chosen += 1;
            }
            self.seen += seen;
            if self.times.len() > KEPT {
                self.thin(rows.ncols());
            }
        }
        self.pass(1);
    }

    /// Drops every second row.
    fn thin(&mut self, columns: usize) {
        let rows = self.times.len().div_ceil(2);
        for row in 1..rows {
            self.values.copy_within(2 * row * columns..(2 * row + 1) * columns, row * columns);
            self.times[row] = self.times[2 * row];
            self.unusual[row] = self.unusual[2 * row];
        }
        self.values.truncate(rows * columns);
        self.times.truncate(rows);
        self.unusual.truncate(rows);
        self.thinned += 1;
    }

    /// Counts batches.
    pub(crate) fn pass(&mut self, batches: u64) {
        let batches = u32::try_from(batches).unwrap_or(u32::MAX);
        self.batches = self.batches.saturating_add(batches);
        self.settled = self.settled.saturating_add(batches);
    }

    /// Starts the settling period again, because the next flows and hosts began before they are seen.
    pub(crate) const fn settle(&mut self) {
        self.settled = 0;
    }

    /// Whether there are enough rows and batches to learn from.
    pub(crate) fn is_over(&self, settings: &Settings) -> bool {
        let batches = if self.is_mostly_unusual() { settings.suspect_batches } else { settings.warm_up_batches };
        self.has_seen(settings) && self.batches >= batches
    }

    /// Whether most rows are unusual and have been for long.
    pub(crate) fn is_overdue(&self, settings: &Settings) -> bool {
        let is_long = self.batches >= settings.suspect_batches / REPORTED_AFTER;
        self.is_mostly_unusual() && is_long && self.has_seen(settings) && !self.is_over(settings)
    }

    pub(crate) fn is_mostly_unusual(&self) -> bool {
        self.unusual_part() > MOST_UNUSUAL
    }

    const fn has_seen(&self, settings: &Settings) -> bool {
        self.seen > 0 && self.seen >= settings.warm_up_rows
    }

    /// The rows to learn from and their batches; `None` if there are none.
    pub(crate) fn rows(&self, columns: usize) -> Option<(Array2<f64>, Vec<u32>)> {
        let all = self.is_mostly_unusual();
        let kept: Vec<usize> = (0..self.times.len()).filter(|&row| all || !self.unusual[row]).collect();
        let whole = ArrayView2::from_shape((self.times.len(), columns), &self.values).expect("whole rows were kept");
        let times = kept.iter().map(|&row| self.times[row]).collect();
        (!kept.is_empty()).then(|| (whole.select(ndarray::Axis(0), &kept), times))
    }

    /// Checks that the kept values are of rows with this many columns.
    pub(crate) fn fits(&self, columns: usize) -> Outcome {
        as_many("values", self.values.len(), self.times.len() * columns)?;
        as_many("unusual", self.unusual.len(), self.times.len())
    }

    /// The fraction of the kept rows that is unusual, 0–1.
    pub(crate) fn unusual_part(&self) -> f64 {
        let unusual = self.unusual.iter().filter(|unusual| **unusual).count();
        unusual as f64 / self.unusual.len().max(1) as f64
    }

    pub(crate) const fn seen(&self) -> usize {
        self.seen
    }

    pub(crate) const fn batches(&self) -> u32 {
        self.batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: usize, rows: usize) -> Array2<f64> {
        Array2::from_shape_fn((rows, 2), |(row, column)| (2 * (first + row) + column) as f64)
    }

    fn collect(warm_up: &mut WarmUp, first: usize, rows: usize, unusual: impl Fn(usize) -> bool) {
        let chosen: Vec<usize> = (0..rows).collect();
        warm_up.collect(batch(first, rows).view(), &chosen, rows, unusual, &Settings::default());
    }

    #[test]
    fn many_rows_are_thinned_evenly_over_time() {
        let mut warm_up = WarmUp::default();
        (0..300).for_each(|number| collect(&mut warm_up, number * 1000, 1000, |_| false));
        let (rows, times) = warm_up.rows(2).expect("there are rows");
        assert_eq!(warm_up.seen(), 300_000);
        assert!((KEPT / 2..=KEPT).contains(&rows.nrows()) && times.len() == rows.nrows());
        let step = 300_000 / rows.nrows();
        assert_eq!(step, 8);
        for (place, row) in rows.outer_iter().enumerate() {
            assert_eq!(row.to_vec(), [(2 * step * place) as f64, (2 * step * place + 1) as f64]);
            assert_eq!(times[place] as usize, step * place / 1000);
        }
    }

    #[test]
    fn unusual_rows_are_trained_on_only_if_they_are_most() {
        let mut few = WarmUp::default();
        collect(&mut few, 0, 10, |row| row < 4);
        assert_eq!(few.rows(2).expect("there are rows").0, batch(4, 6));
        let mut most = WarmUp::default();
        collect(&mut most, 0, 10, |row| row < 6);
        assert_eq!(most.rows(2).expect("there are rows").0, batch(0, 10));
        // Ten rows are enough for both, but not if most of them are unusual.
        let settings = Settings { warm_up_rows: 10, warm_up_batches: 1, suspect_batches: 4, ..Settings::default() };
        assert!(few.is_over(&settings) && !few.is_overdue(&settings));
        assert!(!most.is_over(&settings) && most.is_overdue(&settings));
        most.pass(3);
        assert!(most.is_over(&settings));
    }

    #[test]
    fn batches_after_each_start_of_a_capture_are_not_trained_on() {
        let settings = Settings { settling_batches: 2, ..Settings::default() };
        let mut warm_up = WarmUp::default();
        for number in 0..8 {
            if number == 4 {
                warm_up.settle();
            }
            warm_up.collect(batch(number, 1).view(), &[0], 1, |_| false, &settings);
        }
        assert_eq!(warm_up.rows(2).expect("there are rows").1, [2, 3, 6, 7]);
    }
}
