//! k-means with a weight and a radius for each cluster, as in the live learner.

use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::detector::{Detector, FitDetector, Training};
use crate::learning::checked::{Checked, Outcome};
use crate::learning::cluster::kmeans::{Clusters, Nearest, choose_k};
use crate::learning::error::LearnError;
use crate::learning::sample::sample;

/// The largest number of rows from which centroids are learnt. More rows change the centroids less than
/// another start does.
const FIT_ROWS: usize = 12_288;

/// Number of starts, of which the one with the tightest clusters is kept. Rare rows are far away here and attract the
/// centroids of a start.
const STARTS: u64 = 4;

/// The clusters. The score is `min over clusters of ½(d/σ)² − ln π`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Kmeans(Clusters);

impl Checked for Kmeans {
    const NAME: &str = Clusters::NAME;

    fn check(&self) -> Outcome {
        self.0.check()
    }
}

impl FitDetector for Kmeans {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError> {
        let rows = training.rows.select(Axis(0), &sample(training.rows.nrows(), FIT_ROWS, training.seed));
        let k = training.k.unwrap_or_else(|| choose_k(rows.view(), training.seed));
        let start = |number| Clusters::fit(rows.view(), training.below, k, training.seed.wrapping_add(number));
        let looseness = |clusters: &Clusters| -> f64 {
            clusters.rows.iter().zip(&clusters.spread).map(|(rows, spread)| rows * spread).sum()
        };
        let starts = (0..STARTS).map(start);
        let tightest = starts.min_by(|a, b| looseness(a).total_cmp(&looseness(b)));
        Ok(Self(tightest.expect("there is a start")))
    }
}

impl Kmeans {
    fn nearest(&self, rows: ArrayView2<'_, f64>) -> Vec<Nearest> {
        rows.outer_iter().map(|row| self.0.nearest_of(row)).collect()
    }
}

impl Detector for Kmeans {
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        self.nearest(rows).into_iter().map(|nearest| nearest.score).collect()
    }

    fn clusters(&self, rows: ArrayView2<'_, f64>) -> Option<Vec<usize>> {
        Some(self.nearest(rows).into_iter().map(|nearest| nearest.cluster).collect())
    }

    fn describe(&self) -> String {
        let mut sizes: Vec<f64> = self.0.rows.clone();
        sizes.sort_by(|a, b| b.total_cmp(a));
        let sizes: Vec<String> = sizes.iter().map(f64::to_string).collect();
        format!("{} clusters of {} rows", self.0.len(), sizes.join(", "))
    }

    fn inconsistency(&self, width: usize) -> Option<String> {
        (self.0.width() != width).then(|| format!("its clusters are not of {width} encoded features"))
    }
}
