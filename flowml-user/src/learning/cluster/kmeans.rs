//! k-means clusters with a weight and a radius each, and the score of a vector.

use std::ops::Range;

use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::{KMeans, KMeansInit};
use multiversion::multiversion;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256Plus;
use serde::{Deserialize, Serialize};

use super::euclidean::Euclidean;
use super::silhouette::Silhouette;
use crate::learning::checked::{Checked, Outcome, WEIGHTS, all_within, amount, any, as_many, checked, divisor, holds};

/// The numbers of clusters from which the silhouette chooses, in ascending order. With smaller candidates it would
/// often choose the smallest, whose coarse clusters separate attacks from normal rows less well.
const CANDIDATES: [usize; 5] = [16, 18, 20, 22, 24];

/// The smallest mean number of training rows in a cluster. With fewer, centroids are not representative.
const ROWS_PER_CLUSTER: usize = 15;

/// Number of k-means starts, of which the best is kept.
const RUNS: usize = 2;

/// Number of rows on which candidates are compared. The silhouette takes quadratic time.
const SAMPLE: usize = 512;

/// A cluster's radius is a mean over its own rows and this many rows with the pooled radius, and at least the pooled
/// radius. The rows of a cluster with a small radius were similar so far. Slightly different rows are not therefore
/// anomalous.
const POOLED_ROWS: f64 = 20.0;

/// The smallest pooled radius, in scales per encoded feature (root mean square). The floors of the scales define what a
/// change is, also if all rows are equal.
const ENCODED_FLOOR: f64 = 0.3;

/// Clusters of scaled vectors, stored in arrays for fast scoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct Clusters {
    k: usize,
    width: usize,
    /// For each encoded feature, the weight of a value below the centroid.
    below: Vec<f64>,
    /// For each encoded feature, its values in the `k` centroids: the inner loop of scoring runs over clusters.
    centroids: Vec<f64>,
    /// Number of rows in each cluster, with forgetting.
    pub(crate) rows: Vec<f64>,
    /// Mean squared distance of a cluster's rows from its centroid.
    pub(crate) spread: Vec<f64>,
    /// `1 / (2σ²)` of each cluster, derived from `rows` and `spread`.
    precision: Vec<f64>,
    /// `-ln π` of each cluster, derived from `rows`.
    rarity: Vec<f64>,
}

checked!(Clusters);

impl Checked for Clusters {
    const NAME: &str = "clusters";

    fn check(&self) -> Outcome {
        holds(self.k > 0, "expected at least one")?;
        as_many("below", self.below.len(), self.width)?;
        as_many("centroids", self.centroids.len(), self.k.saturating_mul(self.width))?;
        let arrays = [
            ("rows", &self.rows, amount()),
            ("spread", &self.spread, amount()),
            ("precision", &self.precision, divisor()),
            ("rarity", &self.rarity, amount()),
        ];
        for (name, values, bounds) in arrays {
            as_many(name, values.len(), self.k)?;
            all_within(name, values, &bounds)?;
        }
        all_within("below", &self.below, &WEIGHTS)?;
        all_within("centroids", &self.centroids, &any())
    }
}

/// The cluster with the lowest score of a vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Nearest {
    /// The number of the cluster.
    pub cluster: usize,
    /// `½(d/σ)² − ln π`, the minimum over all clusters.
    pub score: f64,
    /// Squared distance from its centroid.
    pub distance2: f64,
}

/// The contribution of one encoded feature to a squared distance.
#[inline]
pub(crate) fn part(x: f64, c: f64, below: f64) -> f64 {
    (x - c) * (x - c) * if x < c { below } else { 1.0 }
}

impl Clusters {
    /// Fits `k` clusters with linfa's k-means, or fewer if there are fewer different rows. `below` has the weights of
    /// values below a centroid.
    #[must_use]
    pub(crate) fn fit(scaled: ArrayView2<'_, f64>, below: &[f64], k: usize, seed: u64) -> Self {
        let (centroids, members) = partition(scaled, k, seed);
        let (k, width) = centroids.dim();
        let mut clusters = Self {
            k,
            width,
            below: below.to_vec(),
            centroids: centroids.t().iter().copied().collect(),
            rows: vec![0.0; k],
            spread: vec![0.0; k],
            precision: vec![0.0; k],
            rarity: vec![0.0; k],
        };
        for (row, &member) in scaled.rows().into_iter().zip(&members) {
            clusters.rows[member] += 1.0;
            let parts = row.iter().zip(centroids.row(member)).zip(below);
            clusters.spread[member] += parts.map(|((x, c), below)| part(*x, *c, *below)).sum::<f64>();
        }
        for (spread, rows) in clusters.spread.iter_mut().zip(&clusters.rows) {
            // The centroid uses up one degree of freedom.
            *spread /= (rows - 1.0).max(1.0);
        }
        clusters.refresh();
        clusters
    }

    /// The clusters for which `keep` returns true, if any.
    #[must_use]
    pub(crate) fn only(&self, keep: impl Fn(usize) -> bool) -> Option<Self> {
        let kept: Vec<usize> = (0..self.k).filter(|&cluster| keep(cluster)).collect();
        let pick = |values: &[f64]| -> Vec<f64> {
            values.chunks_exact(self.k).flat_map(|row| kept.iter().map(|&cluster| row[cluster])).collect()
        };
        (!kept.is_empty()).then(|| Self {
            k: kept.len(),
            width: self.width,
            below: self.below.clone(),
            centroids: pick(&self.centroids),
            rows: pick(&self.rows),
            spread: pick(&self.spread),
            precision: pick(&self.precision),
            rarity: pick(&self.rarity),
        })
    }

    /// The number of clusters.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.k
    }

    /// The number of encoded features of a vector.
    #[must_use]
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The centroid of one cluster, one value for each encoded feature.
    pub(crate) fn centroid(&self, cluster: usize) -> impl Iterator<Item = f64> + '_ {
        (0..self.width).map(move |feature| self.value(cluster, feature))
    }

    /// The value of one encoded feature in the centroid of one cluster.
    #[inline]
    #[must_use]
    pub(crate) fn value(&self, cluster: usize, feature: usize) -> f64 {
        self.centroids[feature * self.k + cluster]
    }

    /// Clusters with the same weights, with these centroids, numbers of rows, and mean squared distances.
    #[must_use]
    pub(crate) fn with(&self, centroids: &[Vec<f64>], rows: Vec<f64>, spread: Vec<f64>) -> Self {
        let features = 0..self.width;
        let centroids = features.flat_map(|feature| centroids.iter().map(move |centroid| centroid[feature])).collect();
        let mut clusters = Self { centroids, rows, spread, ..self.clone() };
        clusters.refresh();
        clusters
    }

    /// The score of a vector in one cluster at this squared distance from its centroid.
    #[inline(always)]
    #[must_use]
    pub(crate) fn score(&self, cluster: usize, distance2: f64) -> f64 {
        distance2 * self.precision[cluster] + self.rarity[cluster]
    }

    /// The squared distance at which a vector has this score in one cluster.
    #[must_use]
    pub(crate) fn distance2(&self, cluster: usize, score: f64) -> f64 {
        (score - self.rarity[cluster]).max(0.0) / self.precision[cluster]
    }

    /// The largest squared distance of vectors whose features differ by at most `most`.
    #[must_use]
    pub(crate) fn largest_distance2(&self, most: f64) -> f64 {
        self.below.iter().map(|below| below.max(1.0) * most * most).sum()
    }

    /// The contribution of each encoded feature to the squared distance of a vector from the centroid of one cluster.
    pub(crate) fn parts(&self, vector: &[f64], cluster: usize) -> impl Iterator<Item = f64> {
        vector.iter().zip(self.centroid(cluster)).zip(&self.below).map(|((x, c), below)| part(*x, c, *below))
    }

    /// Moves the centroid of one cluster towards `target` by the fraction `part` of the way.
    pub(crate) fn pull(&mut self, cluster: usize, target: &[f64], part: f64) {
        for (feature, target) in target.iter().enumerate() {
            let value = &mut self.centroids[feature * self.k + cluster];
            *value += (target - *value) * part;
        }
    }

    /// The fraction of all rows in a cluster, never 0.
    #[must_use]
    pub(crate) fn share(&self, cluster: usize) -> f64 {
        (self.rows[cluster] + 1.0) / (self.rows.iter().sum::<f64>() + self.k as f64)
    }

    /// The cluster with the lowest score.
    #[must_use]
    pub(crate) fn nearest(&self, vector: &[f64]) -> Nearest {
        nearest(self, vector)
    }

    /// The same for a row of an array.
    #[must_use]
    pub(crate) fn nearest_of(&self, row: ArrayView1<'_, f64>) -> Nearest {
        // Iterating over slices is several times as fast as over views of arrays.
        row.to_slice().map_or_else(|| self.nearest(&row.to_vec()), |slice| self.nearest(slice))
    }

    /// Replaces `best` by one of the `N` clusters from `first` on that has a lower score. Returns `N`.
    #[inline(always)]
    fn try_block<const N: usize>(&self, vector: &[f64], first: usize, best: &mut Nearest) -> usize {
        let half = self.width / 2;
        let mut sums = [0.0; N];
        self.add_parts(&mut sums, vector, first, 0..half);
        // Sums only grow. Half of the features suffice for clusters that are far away, as most are.
        if (first..).zip(sums).all(|(cluster, distance2)| self.score(cluster, distance2) >= best.score) {
            return N;
        }
        self.add_parts(&mut sums, vector, first, half..self.width);
        for (cluster, distance2) in (first..).zip(sums) {
            let score = self.score(cluster, distance2);
            if score < best.score {
                *best = Nearest { cluster, score, distance2 };
            }
        }
        N
    }

    /// Adds what some encoded features contribute to the squared distances from the clusters from `first` on.
    ///
    /// The sums stay in registers, and those of different clusters do not wait for each other.
    #[inline(always)]
    fn add_parts<const N: usize>(&self, sums: &mut [f64; N], vector: &[f64], first: usize, features: Range<usize>) {
        let centroids = self.centroids[features.start * self.k..features.end * self.k].chunks_exact(self.k);
        for ((x, centroids), below) in vector[features.clone()].iter().zip(centroids).zip(&self.below[features]) {
            let centroids: &[f64; N] = centroids[first..].first_chunk().expect("there are as many clusters");
            // Most encoded features have equal weights below and above. Without the comparison this takes half the
            // time.
            if *below == 1.0 {
                sums.iter_mut().zip(centroids).for_each(|(sum, c)| *sum += (x - c) * (x - c));
            } else {
                sums.iter_mut().zip(centroids).for_each(|(sum, c)| *sum += part(*x, *c, *below));
            }
        }
    }

    /// The mean squared distance of all rows from their centroids.
    pub(crate) fn pooled_spread(&self) -> f64 {
        let all: f64 = self.rows.iter().sum();
        let squares: f64 = self.rows.iter().zip(&self.spread).map(|(rows, spread)| rows * spread).sum();
        let floor = ENCODED_FLOOR * ENCODED_FLOOR * self.width.max(1) as f64;
        (squares / all.max(1.0)).max(floor)
    }

    /// Recomputes precision and rarity from rows and spread. Call it after a change of either.
    pub(crate) fn refresh(&mut self) {
        let pooled = self.pooled_spread();
        for cluster in 0..self.k {
            let (rows, spread) = (self.rows[cluster], self.spread[cluster]);
            let shrunk = (rows * spread + POOLED_ROWS * pooled) / (rows + POOLED_ROWS);
            self.precision[cluster] = 0.5 / shrunk.max(pooled);
            self.rarity[cluster] = -self.share(cluster).ln();
        }
    }
}

/// The cluster with the lowest score. The result is the same on every processor, as no number depends on how many of
/// them are computed at a time.
#[multiversion(targets("x86_64+avx2"))]
fn nearest(clusters: &Clusters, vector: &[f64]) -> Nearest {
    let mut best = Nearest { cluster: 0, score: f64::INFINITY, distance2: 0.0 };
    let mut first = 0;
    while first < clusters.k {
        first += match clusters.k - first {
            16.. => clusters.try_block::<16>(vector, first, &mut best),
            8.. => clusters.try_block::<8>(vector, first, &mut best),
            4.. => clusters.try_block::<4>(vector, first, &mut best),
            2.. => clusters.try_block::<2>(vector, first, &mut best),
            _ => clusters.try_block::<1>(vector, first, &mut best),
        };
    }
    best
}

/// The number of clusters with the best silhouette on a sample of the rows.
#[must_use]
pub(crate) fn choose_k(scaled: ArrayView2<'_, f64>, seed: u64) -> usize {
    let at_most = (scaled.nrows() / ROWS_PER_CLUSTER).max(1);
    if at_most <= CANDIDATES[0] {
        return at_most;
    }
    let sample = scaled.select(Axis(0), &crate::learning::sample::sample(scaled.nrows(), SAMPLE, seed));
    let silhouette = Silhouette::of(sample.view());
    let quality = |k: usize| silhouette.mean(&partition(sample.view(), k, seed).1);
    let measured = CANDIDATES.into_iter().filter(|&k| k <= at_most).map(|k| (k, quality(k)));
    // If two are equally good, the smaller number is chosen.
    measured.reduce(|best, next| if next.1 > best.1 { next } else { best }).map_or(CANDIDATES[0], |(k, _)| k)
}

/// The centroids of non-empty clusters, and the cluster of each row.
///
/// Rows are counted by prediction, because linfa's own counts may be those of another run than the one it keeps.
fn partition(scaled: ArrayView2<'_, f64>, k: usize, seed: u64) -> (Array2<f64>, Vec<usize>) {
    let width = scaled.ncols();
    let k = k.min(different_rows(scaled, k));
    if k <= 1 || width == 0 {
        let mean = scaled.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(width));
        return (mean.insert_axis(Axis(0)), vec![0; scaled.nrows()]);
    }
    let rows = DatasetBase::from(scaled);
    // k-means++ and not k-means||, because the random numbers of the latter depend on how threads share the rows.
    let fitted = KMeans::params_with(k, Xoshiro256Plus::seed_from_u64(seed), Euclidean)
        .init_method(KMeansInit::KMeansPlusPlus)
        .n_runs(RUNS)
        .max_n_iterations(30)
        .tolerance(1e-2)
        .fit(&rows)
        .expect("k is at least 2 and the scaled rows are finite");
    let members: Array1<usize> = fitted.predict(&scaled);
    let mut kept: Vec<usize> = members.to_vec();
    kept.sort_unstable();
    kept.dedup();
    let renumber = |member: &usize| kept.partition_point(|k| k < member);
    (fitted.centroids().select(Axis(0), &kept), members.iter().map(renumber).collect())
}

/// The number of different rows, counted up to `enough`.
fn different_rows(rows: ArrayView2<'_, f64>, enough: usize) -> usize {
    let mut found: Vec<_> = Vec::with_capacity(enough);
    for row in rows.rows() {
        if found.len() >= enough {
            break;
        }
        if !found.contains(&row) {
            found.push(row);
        }
    }
    found.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use rand_distr::StandardNormal;

    /// `rows` vectors of three features, around each of `centers` in turn.
    fn blobs(centers: &[f64], rows: usize, width: f64, seed: u64) -> Array2<f64> {
        let mut rng = Xoshiro256Plus::seed_from_u64(seed);
        Array2::from_shape_fn((rows, 3), |(row, _)| {
            centers[row % centers.len()] + width * rng.sample::<f64, _>(StandardNormal)
        })
    }

    fn fit(rows: &Array2<f64>, k: usize) -> Clusters {
        Clusters::fit(rows.view(), &vec![1.0; rows.ncols()], k, 7)
    }

    #[test]
    fn finds_the_clusters_with_their_counts_and_spreads() {
        let rows = blobs(&[0.0, 0.0, 50.0], 300, 1.0, 1);
        let clusters = fit(&rows, 2);
        let mut found: Vec<(f64, f64)> = clusters.rows.iter().copied().zip(clusters.spread.iter().copied()).collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!((found[0].0, found[1].0), (100.0, 200.0));
        // Three features of variance 1.
        assert!(found.iter().all(|(_, spread)| (spread - 3.0).abs() < 0.7), "{found:?}");
    }

    #[test]
    fn counts_are_of_the_run_that_was_kept() {
        for seed in 0..20 {
            let rows = blobs(&[0.0, 1.0, 2.0, 3.0, 4.0], 100, 0.6, seed);
            let clusters = Clusters::fit(rows.view(), &[1.0; 3], 4, seed);
            let mut counts = vec![0.0; clusters.len()];
            for row in rows.outer_iter() {
                let distance = |cluster: usize| clusters.parts(&row.to_vec(), cluster).sum::<f64>();
                let nearest = (0..clusters.len()).min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
                counts[nearest.expect("some cluster")] += 1.0;
            }
            assert_eq!(counts, clusters.rows);
        }
    }

    #[test]
    fn the_score_is_the_minimum_over_clusters_of_scaled_distance_plus_rarity() {
        let rows = blobs(&[0.0, 0.0, 0.0, 9.0], 400, 1.0, 3);
        let clusters = fit(&rows, 2);
        for row in rows.outer_iter().take(20) {
            let vector = row.to_vec();
            let nearest = clusters.nearest(&vector);
            let by_hand = (0..2).map(|cluster| {
                let distance2: f64 = clusters.centroid(cluster).zip(&vector).map(|(c, x)| (x - c) * (x - c)).sum();
                0.5 * distance2 / (0.5 / clusters.precision[cluster]) - clusters.share(cluster).ln()
            });
            assert!((nearest.score - by_hand.fold(f64::INFINITY, f64::min)).abs() < 1e-9);
        }
    }

    #[test]
    fn values_below_a_centroid_have_the_given_weight() {
        let rows = blobs(&[0.0], 100, 1.0, 4);
        let clusters = Clusters::fit(rows.view(), &[0.25, 1.0, 1.0], 1, 0);
        let center: Vec<f64> = clusters.centroid(0).collect();
        let at = |offset: f64| clusters.nearest(&[center[0] + offset, center[1], center[2]]).distance2;
        assert!((at(4.0) - 16.0).abs() < 1e-9);
        assert!((at(-4.0) - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_rare_cluster_scores_higher_than_a_common_one_at_the_same_distance() {
        let rows = blobs(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 40.0], 500, 1.0, 5);
        let clusters = fit(&rows, 2);
        let at_center = |cluster: usize| {
            let center: Vec<f64> = clusters.centroid(cluster).collect();
            clusters.nearest(&center).score
        };
        let (common, rare) = if clusters.rows[0] > clusters.rows[1] { (0, 1) } else { (1, 0) };
        assert!(at_center(rare) > at_center(common) + 2.0);
    }

    #[test]
    fn fewer_different_rows_make_fewer_clusters() {
        assert_eq!(fit(&Array2::zeros((100, 3)), 8).len(), 1);
        assert_eq!(fit(&blobs(&[0.0, 1.0], 100, 0.0, 6), 8).len(), 2);
        assert!(fit(&blobs(&[0.0], 3, 1.0, 7), 8).len() <= 3);
        let none = fit(&Array2::zeros((0, 3)), 8);
        assert_eq!(none.len(), 1);
        assert!(none.nearest(&[1.0, 1.0, 1.0]).score.is_finite());
    }

    #[test]
    fn the_silhouette_finds_the_number_of_far_clusters() {
        let centers: Vec<f64> = (0..20).map(|i| f64::from(i) * 30.0).collect();
        assert_eq!(choose_k(blobs(&centers, 400, 1.0, 8).view(), 1), 20);
        assert_eq!(choose_k(blobs(&centers, 60, 1.0, 8).view(), 1), 60 / ROWS_PER_CLUSTER);
        assert_eq!(choose_k(Array2::zeros((0, 3)).view(), 1), 1);
    }
}
