//! The traits of a classifier: it is trained on labelled rows, and predicts classes.

use ndarray::ArrayView2;

use crate::learning::checked::Checked;
use crate::learning::error::LearnError;

/// The training set of a classifier.
#[derive(Clone, Copy)]
pub(crate) struct TrainingSet<'a> {
    /// The encoded rows.
    pub(crate) rows: ArrayView2<'a, f64>,
    /// The number of each row's class.
    pub(crate) classes: &'a [usize],
    /// The number of classes. Each has at least one row.
    pub(crate) count: usize,
    /// The seed of random choices.
    pub(crate) seed: u64,
}

/// Predicts the classes of rows.
pub(crate) trait Classifier {
    /// The number of the class of each row.
    fn classify(&self, rows: ArrayView2<'_, f64>) -> Vec<usize>;

    /// A description for users.
    fn describe(&self) -> String;

    /// The inconsistency of a model that was read from a file, if there is one, for rows of `width` encoded features
    /// and this number of classes.
    fn inconsistency(&self, width: usize, classes: usize) -> Option<String>;
}

/// A classifier that can be trained.
pub(super) trait FitClassifier: Classifier + Checked {
    fn fit(training: &TrainingSet<'_>) -> Result<Self, LearnError>;
}

/// The index of the largest value; of equal values the first.
pub(super) fn largest(values: impl IntoIterator<Item = f64>) -> usize {
    let numbered = values.into_iter().enumerate();
    numbered.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(0, |(number, _)| number)
}
