//! The rows of a learner: the values of flows or host windows.

use std::borrow::Borrow;

use ndarray::{Array2, ArrayView2, s};

use super::{Feature, Learn};
use crate::process::memory::is_worth_keeping;

/// Makes the rows of a learner. The columns that it does not read are 0: computing all of them takes longer than a score.
pub struct LearnerRows<T: 'static> {
    /// The last rows. The next ones use their memory again: page faults of new memory cost as much as the values.
    rows: Array2<f64>,
    /// The columns that are read, and their places.
    read: Vec<(usize, Feature<T>)>,
}

impl<T> LearnerRows<T> {
    /// For rows with the columns of `table`. A learner reads those that are learnt, and those on which their meaning
    /// depends.
    #[must_use]
    pub fn new(table: impl IntoIterator<Item = Feature<T>>) -> Self {
        let table: Vec<_> = table.into_iter().collect();
        let is_context = |name| table.iter().any(|feature| feature.learn.context() == Some(name));
        let is_read = |feature: &Feature<T>| feature.learn != Learn::Never || is_context(feature.name);
        let read = table
            .iter()
            .enumerate()
            .filter(|(_, feature)| is_read(feature))
            .map(|(n, feature)| (n, *feature))
            .collect();
        Self { rows: Array2::zeros((0, table.len())), read }
    }

    /// The rows of these units.
    pub fn of(&mut self, units: impl ExactSizeIterator<Item = impl Borrow<T>>) -> ArrayView2<'_, f64> {
        let count = units.len();
        if self.rows.nrows() < count || !is_worth_keeping(self.rows.nrows(), count) {
            self.rows = Array2::zeros((count + count / 4, self.rows.ncols()));
        }
        for (mut row, unit) in self.rows.outer_iter_mut().zip(units) {
            for (place, feature) in &self.read {
                row[*place] = feature.value(unit.borrow());
            }
        }
        self.rows.slice(s![..count, ..])
    }
}
