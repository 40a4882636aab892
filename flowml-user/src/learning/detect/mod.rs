//! Detectors: each learns what normal rows look like and scores rows, higher if they are more anomalous.

mod density;
mod ensemble;
mod forest;
mod kmeans;
mod mixture;
mod svm;
#[cfg(test)]
mod tests;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use self::density::Dbscan;
use self::ensemble::Ensemble;
use self::forest::IsolationForest;
use self::kmeans::Kmeans;
use self::mixture::GaussianMixture;
use self::svm::OneClassSvm;
use crate::learning::checked::Checked;

/// The largest number of classes, so that counts for each pair of them fit in memory.
pub const MOST_CLASSES: usize = 1024;

/// The largest number of encoded features of a row, for the same reason.
pub(crate) const MOST_SLOTS: usize = 4096;

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// There are too few rows.
    #[error("{found} rows to train on: expected at least {expected}")]
    TooFewRows {
        /// The number of rows.
        found: usize,
        /// The smallest number of rows.
        expected: usize,
    },
    /// No column has information.
    #[error("no column is left to train on: each is constant, empty, or never used")]
    NoColumns,
    /// All rows have the same class.
    #[error("all rows have the label '{0}': expected at least two labels")]
    OneClass(String),
    /// There are more labels than classes can be distinguished.
    #[error("{0} different labels: expected at most {MOST_CLASSES}; is this the column of the labels?")]
    Classes(usize),
    /// The columns give more encoded features than can be compared.
    #[error("the columns have {0} encoded features: expected at most {MOST_SLOTS}; leave out columns")]
    Slots(usize),
    /// An algorithm failed.
    #[error("{what} failed: {reason}")]
    Failed {
        /// The algorithm.
        what: &'static str,
        /// Its error.
        reason: String,
    },
}

/// The fitted model, if it is valid and can be read again.
pub(crate) fn sound<T: Checked>(fitted: T) -> Result<T, LearnError> {
    match fitted.check() {
        Ok(()) => Ok(fitted),
        Err(reason) => Err(LearnError::Failed { what: T::NAME, reason }),
    }
}

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
pub trait Detector {
    /// One score for each row, higher for more anomalous rows.
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64>;

    /// The cluster of each row, for a detector that has clusters.
    fn clusters(&self, _rows: ArrayView2<'_, f64>) -> Option<Vec<usize>> {
        None
    }

    /// A description for users.
    fn describe(&self) -> String;

    /// What is inconsistent in a model that was read from a file, for rows of `width` encoded features.
    fn inconsistency(&self, width: usize) -> Option<String>;
}

/// A detector that can be trained.
trait FitDetector: Detector + Checked {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError>;
}

/// The one table of detectors: variant and type, name on the command line and in files, meaning.
macro_rules! detectors {
    ($($kind:ident($fitted:ty) = $name:literal, $meaning:literal;)*) => {
        /// All kinds of detectors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum DetectorKind {
            $(#[doc = $meaning] #[serde(rename = $name)] $kind,)*
        }

        impl DetectorKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name on the command line and in files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// What it does, in one line.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$kind => $meaning,)* }
            }

            /// Trains on rows.
            pub(crate) fn fit(self, training: &Training<'_>) -> Result<FittedDetector, LearnError> {
                if training.rows.ncols() == 0 {
                    return Err(LearnError::NoColumns);
                }
                if training.rows.nrows() < LEAST_ROWS {
                    return Err(LearnError::TooFewRows { found: training.rows.nrows(), expected: LEAST_ROWS });
                }
                match self { $(Self::$kind => <$fitted>::fit(training).and_then(sound).map(FittedDetector::$kind),)* }
            }
        }

        /// A trained detector.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "detector")]
        pub(crate) enum FittedDetector {
            $(#[serde(rename = $name)] $kind($fitted),)*
        }

        impl FittedDetector {
            /// The kind of detector.
            pub(crate) fn kind(&self) -> DetectorKind {
                match self { $(Self::$kind(_) => DetectorKind::$kind,)* }
            }

            /// The detector's methods.
            pub(crate) fn as_detector(&self) -> &dyn Detector {
                match self { $(Self::$kind(fitted) => fitted,)* }
            }
        }
    };
}

detectors! {
    Kmeans(Kmeans) = "kmeans", "k-means: distance from the best cluster in units of its radius, and the rarity of that cluster";
    IsolationForest(IsolationForest) = "isolation-forest", "number of random splits that isolate a row";
    OneClassSvm(OneClassSvm) = "one-class-svm", "distance outside a boundary around the training rows";
    GaussianMixture(GaussianMixture) = "gaussian-mixture", "improbability in a mixture of normal distributions";
    Dbscan(Dbscan) = "dbscan", "distance from the nearest dense region";
    Ensemble(Ensemble) = "ensemble", "mean calibrated score of k-means, isolation forest and Gaussian mixture";
}

/// The smallest number of training rows.
const LEAST_ROWS: usize = 10;
