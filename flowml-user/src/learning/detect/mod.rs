//! Detectors: each learns what normal rows look like and scores rows, higher if they are more anomalous.
//!
//! ```
//! use flowml_user::learning::detect::DetectorKind;
//!
//! assert!(DetectorKind::ALL.iter().any(|kind| kind.name() == "isolation-forest"));
//! ```

mod density;
mod detector;
mod ensemble;
mod forest;
mod kmeans;
mod mixture;
mod svm;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub(crate) use self::detector::Detector;

use self::density::Dbscan;
use self::detector::FitDetector;
pub(crate) use self::detector::Training;
use self::ensemble::Ensemble;
use self::forest::IsolationForest;
use self::kmeans::Kmeans;
use self::mixture::GaussianMixture;
use self::svm::OneClassSvm;
use super::error::{LearnError, sound};
use super::kinds::kinds;

/// The table of detectors: variant and type, name on the command line and in files, meaning.
macro_rules! detectors {
    ($($kind:ident($fitted:ty) = $name:literal, $meaning:literal;)*) => {
        kinds! {
            /// All kinds of detectors.
            DetectorKind: $($kind = $name, $meaning;)*
        }

        impl DetectorKind {
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
