//! The model that a warm-up produces: scaler, clusters, their typical values, and the calibration.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::poison::transient_rows;
use super::reason::{Explain, Typical};
use super::settings::Settings;
use super::training::Training;
use super::update::Pace;
use crate::features::Column;
use crate::learning::calibration::probability::Calibration;
use crate::learning::checked::{Checked, Outcome, checked, holds};
use crate::learning::cluster::kmeans::{Clusters, Nearest, choose_k};
use crate::learning::preprocess::scaler::Scaler;
use crate::learning::sample::sample;

/// The largest number of warm-up rows used in a fit. k-means, its folds and the silhouette then take a fraction of a
/// second.
const FIT_ROWS: usize = 4096;

/// The same limit for rows that are known to be normal, where fitting time is not critical. More rows contain more rare
/// behaviour.
const TRUSTED_FIT_ROWS: usize = 4 * FIT_ROWS;

/// Number of blocks of consecutive rows, each scored by clusters fitted on the other blocks. Rows that are close in
/// time resemble each other, so in a random split the held-out rows would be near-copies of training rows.
const FOLDS: usize = 5;

/// Number of clusters with which transient rows are searched.
const PROBE_CLUSTERS: usize = 12;

/// When the farthest rows are trimmed, distances are measured only to clusters with at least this fraction of the rows.
const VOUCHING_SHARE: f64 = 0.03;

/// The fitted scaler, clusters and calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct Fitted {
    pub(crate) scaler: Scaler,
    pub(crate) clusters: Clusters,
    pub(crate) typical: Typical,
    pub(crate) calibration: Calibration,
}

checked!(Fitted);

impl Checked for Fitted {
    const NAME: &str = "model";

    fn check(&self) -> Outcome {
        let width = self.scaler.width();
        let fits = self.clusters.width() == width && self.typical.fits(self.clusters.len(), width);
        holds(fits, "expected clusters, and quantiles of them, of the encoded features that its scaler makes")
    }
}

/// Buffers for scoring, so that a row needs no allocation.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) vector: Vec<f64>,
}

/// A row that was scored.
pub(crate) struct Scored<'a> {
    pub(crate) nearest: Nearest,
    pub(crate) probability: f64,
    pub(crate) vector: &'a [f64],
}

impl Fitted {
    /// Fits on the rows of a warm-up, sorted by their `times`.
    pub(crate) fn fit(rows: ArrayView2<'_, f64>, times: &[u32], columns: &[Column], settings: &Settings) -> Self {
        let most = if settings.trusted { TRUSTED_FIT_ROWS } else { FIT_ROWS };
        let chosen = sample(rows.nrows(), most, settings.seed);
        let times: Vec<u32> = chosen.iter().map(|&row| times[row]).collect();
        let rows = rows.select(Axis(0), &chosen);
        if settings.trusted {
            return Self::fit_all(&rows, columns, settings);
        }
        let transient = {
            let scaler = Scaler::fit(rows.view(), columns, settings.below);
            let scaled = scaler.scale_all(rows.view());
            let clusters = Clusters::fit(scaled.view(), &scaler.below(), PROBE_CLUSTERS, settings.seed);
            transient_rows(&clusters, scaled.view(), &times)
        };
        let kept: Vec<usize> = (0..rows.nrows()).filter(|&row| !transient[row]).collect();
        Self::fit_all(&rows.select(Axis(0), &kept), columns, settings)
    }

    /// Fits on rows, all of which are used.
    fn fit_all(rows: &Array2<f64>, columns: &[Column], settings: &Settings) -> Self {
        let seed = settings.seed;
        let rough = Scaler::fit(rows.view(), columns, settings.below);
        let roughly_scaled = rough.scale_all(rows.view());
        let k = settings.clusters.unwrap_or_else(|| choose_k(roughly_scaled.view(), seed));
        let trim = if settings.trusted { 0.0 } else { settings.trim };
        let parameters = Parameters { below: &rough.below(), k, trim, seed };

        let residuals = residuals(&parameters.fit(roughly_scaled.view()), roughly_scaled);
        let scaler = rough.sharpened(residuals.view(), columns);
        let scaled = scaler.scale_all(rows.view());
        let clusters = parameters.fit(scaled.view());
        let held_out = parameters.held_out_scores(&scaled);
        let members: Vec<usize> = scaled.outer_iter().map(|v| clusters.nearest_of(v).cluster).collect();
        let typical = Typical::of(scaled.view(), &members, &clusters);
        let calibration = Calibration::new(&held_out, settings.calibration_scores, settings.alpha);
        Self { scaler, clusters, typical, calibration }
    }

    /// Scales a raw row into the scratch vector and returns the cluster with the lowest score.
    pub(crate) fn score(&self, row: ArrayView1<'_, f64>, scratch: &mut Scratch) -> Nearest {
        scratch.vector.resize(self.clusters.width(), 0.0);
        self.scaler.scale(row, &mut scratch.vector);
        self.clusters.nearest(&scratch.vector)
    }

    /// Adds a row that was just scored to the training set of its batch. Rows whose probability is above the margin move
    /// the clusters. Scores and probabilities stay the same until the batch ends.
    pub(crate) fn learn(&mut self, training: &mut Training<'_>, scored: &Scored<'_>, settings: &Settings) {
        let &Scored { nearest: Nearest { cluster, score, distance2 }, probability, vector } = scored;
        let Some(taken) = self.calibration.record(score, probability) else { return };
        training.count(cluster, taken);
        if probability >= settings.margin {
            training.add(cluster, vector, distance2);
            self.typical.follow(cluster, vector);
        }
    }

    /// Ends a batch: trains on its rows.
    pub(crate) fn end_batch(&mut self, training: Training<'_>, settings: &Settings) {
        training.train(&mut self.clusters, Pace::new(settings.half_life_batches, settings.step));
        self.calibration.refresh();
    }

    /// The inconsistency of a model of these columns that was read from a file, if there is one.
    pub(crate) fn inconsistency(&self, columns: &[Column]) -> Option<String> {
        (!self.scaler.fits(columns)).then(|| format!("its scaling does not fit the {} columns", columns.len()))
    }

    /// The data with which this model's scores are explained, with these typical values.
    pub(crate) fn explain<'a>(&'a self, columns: &'a [Column], typical: &'a Typical) -> Explain<'a> {
        Explain { columns, scaler: &self.scaler, clusters: &self.clusters, typical }
    }
}

/// For each row, its difference from its centroid.
fn residuals(clusters: &Clusters, mut scaled: Array2<f64>) -> Array2<f64> {
    for mut row in scaled.rows_mut() {
        let cluster = clusters.nearest_of(row.view()).cluster;
        for (x, c) in row.iter_mut().zip(clusters.centroid(cluster)) {
            *x -= c;
        }
    }
    scaled
}

/// The parameters with which clusters are fitted on scaled rows.
struct Parameters<'a> {
    below: &'a [f64],
    k: usize,
    trim: f64,
    seed: u64,
}

impl Parameters<'_> {
    /// Clusters of all rows except the fraction `trim` of the farthest.
    ///
    /// k-means gives a few far rows a centroid of their own, to which they are then close. Therefore distance is
    /// measured to large clusters only, and the fit is repeated without the farthest rows.
    fn fit(&self, scaled: ArrayView2<'_, f64>) -> Clusters {
        let first = Clusters::fit(scaled, self.below, self.k, self.seed);
        let drop = (scaled.nrows() as f64 * self.trim.clamp(0.0, 0.5)) as usize;
        let vouching = first.only(|cluster| first.share(cluster) >= VOUCHING_SHARE);
        let (true, Some(vouching)) = (drop > 0, vouching) else { return first };
        let mut scores: Vec<(f64, usize)> =
            scaled.outer_iter().enumerate().map(|(i, v)| (vouching.nearest_of(v).score, i)).collect();
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut kept: Vec<usize> = scores[..scores.len() - drop].iter().map(|(_, row)| *row).collect();
        kept.sort_unstable();
        Clusters::fit(scaled.select(Axis(0), &kept).view(), self.below, self.k, self.seed)
    }

    /// The score of each row by clusters that were fitted without its block.
    fn held_out_scores(&self, scaled: &Array2<f64>) -> Vec<f64> {
        let n = scaled.nrows();
        let folds = FOLDS.min(n);
        let mut scores = Vec::with_capacity(n);
        for fold in 0..folds {
            let block = fold * n / folds..(fold + 1) * n / folds;
            let others: Vec<usize> = (0..n).filter(|row| !block.contains(row)).collect();
            if others.is_empty() {
                continue;
            }
            let clusters = self.fit(scaled.select(Axis(0), &others).view());
            scores.extend(block.map(|row| clusters.nearest_of(scaled.row(row)).score));
        }
        scores
    }
}
