//! The traits of a detector: it is trained on normal rows, and scores rows.

use ndarray::ArrayView2;

use crate::learning::checked::Checked;
use crate::learning::error::LearnError;

/// The training set of a detector.
#[derive(Clone, Copy)]
pub(crate) struct Training<'a> {
    /// The encoded rows.
    pub(crate) rows: ArrayView2<'a, f64>,
    /// For each encoded feature, the weight in a squared distance of a value below the centroid.
    pub(crate) below: &'a [f64],
    /// The number of clusters or components, if it is given.
    pub(crate) k: Option<usize>,
    /// The seed of random choices.
    pub(crate) seed: u64,
}

/// Scores rows.
pub(crate) trait Detector {
    /// One score for each row, higher for more anomalous rows.
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64>;

    /// The cluster of each row, for a detector that has clusters.
    fn clusters(&self, _rows: ArrayView2<'_, f64>) -> Option<Vec<usize>> {
        None
    }

    /// A description for users.
    fn describe(&self) -> String;

    /// The inconsistency of a model that was read from a file, if there is one, for rows of `width` encoded features.
    fn inconsistency(&self, width: usize) -> Option<String>;
}

/// A detector that can be trained.
pub(super) trait FitDetector: Detector + Checked {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError>;
}
