//! DBSCAN (Ester, Kriegel, Sander, Xu 1996) on a sample, with linfa; the score is the distance from a core row.

use linfa::ParamGuard;
use linfa::traits::Transformer;
use linfa_clustering::Dbscan as Clustering;
use ndarray::{ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::detector::{Detector, FitDetector, Training};
use crate::learning::checked::{Checked, Outcome, all_within, any, checked, divisor, holds, within};
use crate::learning::error::LearnError;
use crate::learning::preprocess::statistics::quantile;
use crate::learning::sample::sample;

/// The largest number of training rows. Neighbourhoods are searched for every row, which takes quadratic time with many
/// encoded features.
const FIT_ROWS: usize = 2000;

/// A row with this many rows in its neighbourhood, itself included, is a core row.
const NEIGHBOURS: usize = 10;

/// The fraction of the rows whose neighbourhood should hold that many.
const DENSE: f64 = 0.9;

/// The core rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct Dbscan {
    /// The radius of a neighbourhood.
    radius: f64,
    /// The core rows, by cluster.
    clusters: Vec<Vec<Vec<f64>>>,
}

checked!(Dbscan);

impl Checked for Dbscan {
    const NAME: &str = "DBSCAN";

    fn check(&self) -> Outcome {
        within("radius", self.radius, divisor())?;
        holds(!self.clusters.is_empty(), "expected at least one of 'clusters'")?;
        holds(self.clusters.iter().all(|cluster| !cluster.is_empty()), "expected rows in each of 'clusters'")?;
        all_within("clusters", self.clusters.iter().flatten().flatten(), &any())
    }
}

impl FitDetector for Dbscan {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError> {
        let rows = training.rows.select(Axis(0), &sample(training.rows.nrows(), FIT_ROWS, training.seed));
        let distances: Vec<Vec<f64>> = rows.outer_iter().map(|row| distances(rows.view(), row)).collect();
        let radius = radius(&distances);
        let failed = |reason: String| LearnError::Failed { what: "DBSCAN", reason };
        let params =
            Clustering::params(NEIGHBOURS).tolerance(radius).check().map_err(|error| failed(error.to_string()))?;
        let members = params.transform(&rows);
        let count = members.iter().flatten().max().map_or(0, |most| most + 1);
        let mut clusters = vec![Vec::new(); count];
        for ((row, member), distances) in rows.outer_iter().zip(&members).zip(&distances) {
            let dense = distances.iter().filter(|distance| **distance < radius).count() >= NEIGHBOURS;
            if let (Some(member), true) = (member, dense) {
                clusters[*member].push(row.to_vec());
            }
        }
        clusters.retain(|cluster| !cluster.is_empty());
        if clusters.is_empty() {
            return Err(failed(format!("no row has {NEIGHBOURS} others within {radius}")));
        }
        Ok(Self { radius, clusters })
    }
}

fn distance(row: ArrayView1<'_, f64>, other: impl IntoIterator<Item = f64>) -> f64 {
    row.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

fn distances(rows: ArrayView2<'_, f64>, from: ArrayView1<'_, f64>) -> Vec<f64> {
    rows.outer_iter().map(|row| distance(from, row.iter().copied())).collect()
}

/// The radius within which [`DENSE`] of the rows have [`NEIGHBOURS`]: a quantile that approximates the knee of the
/// k-distance plot in the paper. It is slightly larger, because a neighbourhood excludes its boundary.
fn radius(distances: &[Vec<f64>]) -> f64 {
    let nearest = |distances: &Vec<f64>| {
        let mut distances = distances.clone();
        distances.sort_unstable_by(f64::total_cmp);
        distances[(NEIGHBOURS - 1).min(distances.len() - 1)]
    };
    let mut all: Vec<f64> = distances.iter().map(nearest).collect();
    all.sort_unstable_by(f64::total_cmp);
    quantile(&all, DENSE).max(1e-6) * (1.0 + 1e-9)
}

impl Dbscan {
    /// The nearest cluster, and the distance of its nearest row.
    fn nearest(&self, row: ArrayView1<'_, f64>) -> (usize, f64) {
        let all =
            self.clusters.iter().enumerate().flat_map(|(number, cluster)| cluster.iter().map(move |v| (number, v)));
        let distances = all.map(|(number, vector)| (number, distance(row, vector.iter().copied())));
        distances.reduce(|best, next| if next.1 < best.1 { next } else { best }).unwrap_or((0, f64::MAX))
    }
}

impl Detector for Dbscan {
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        rows.outer_iter().map(|row| self.nearest(row).1 / self.radius).collect()
    }

    fn clusters(&self, rows: ArrayView2<'_, f64>) -> Option<Vec<usize>> {
        Some(rows.outer_iter().map(|row| self.nearest(row).0).collect())
    }

    fn describe(&self) -> String {
        let rows = self.clusters.iter().map(Vec::len).sum::<usize>();
        format!("{} clusters of {rows} rows, radius {:.3}", self.clusters.len(), self.radius)
    }

    fn inconsistency(&self, width: usize) -> Option<String> {
        let fits = self.clusters.iter().flatten().all(|row| row.len() == width);
        (!fits).then(|| format!("its clusters are not of {width} encoded features"))
    }
}
