//! The mean silhouette of a clustering (Rousseeuw 1987), to compare numbers of clusters on one sample.

use ndarray::ArrayView2;

/// The distances between all pairs of rows of a sample, computed once for all its clusterings.
pub(crate) struct Silhouette {
    rows: usize,
    /// Row-major, symmetric.
    distances: Vec<f64>,
}

impl Silhouette {
    /// Takes time and memory quadratic in the number of rows, so it is for samples.
    pub(crate) fn of(sample: ArrayView2<'_, f64>) -> Self {
        let rows = sample.nrows();
        let mut distances = vec![0.0; rows * rows];
        for (i, a) in sample.rows().into_iter().enumerate() {
            for (j, b) in sample.rows().into_iter().enumerate().take(i) {
                let distance = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
                distances[i * rows + j] = distance;
                distances[j * rows + i] = distance;
            }
        }
        Self { rows, distances }
    }

    /// The mean over all rows of `(b − a) / max(a, b)`: `a` is the mean distance to the other rows of the row's own
    /// cluster, `b` that to the nearest other cluster. It is 0 for the only row of a cluster, and for a single cluster.
    pub(crate) fn mean(&self, members: &[usize]) -> f64 {
        let k = members.iter().max().map_or(0, |most| most + 1);
        if k < 2 {
            return 0.0;
        }
        let mut sizes = vec![0.0; k];
        for &member in members {
            sizes[member] += 1.0;
        }
        let mut sums = vec![0.0; k];
        let mut total = 0.0;
        for (own, distances) in members.iter().zip(self.distances.chunks_exact(self.rows)) {
            sums.fill(0.0);
            for (distance, &member) in distances.iter().zip(members) {
                sums[member] += distance;
            }
            total += width(*own, &sums, &sizes);
        }
        total / self.rows as f64
    }
}

/// The silhouette of one row, from the sums of its distances to the clusters.
fn width(own: usize, sums: &[f64], sizes: &[f64]) -> f64 {
    if sizes[own] < 2.0 {
        return 0.0;
    }
    let inside = sums[own] / (sizes[own] - 1.0);
    let outside = (0..sums.len())
        .filter(|&other| other != own && sizes[other] > 0.0)
        .map(|other| sums[other] / sizes[other])
        .fold(f64::INFINITY, f64::min);
    let larger = inside.max(outside);
    if larger > 0.0 && larger.is_finite() { (outside - inside) / larger } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::DatasetBase;
    use linfa::metrics::SilhouetteScore;
    use ndarray::{Array1, Array2};
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256Plus;

    #[test]
    fn agrees_with_linfa() {
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let members: Vec<usize> = (0..60).map(|row| row % 3).collect();
        let sample = Array2::from_shape_fn((60, 2), |(row, _)| (row % 3) as f64 + rng.gen_range(-1.0..1.0));
        let theirs = DatasetBase::new(sample.view(), Array1::from(members.clone())).silhouette_score();
        let ours = Silhouette::of(sample.view()).mean(&members);
        assert!((ours - theirs.expect("a score")).abs() < 1e-12);
    }

    #[test]
    fn prefers_the_true_clusters() {
        let sample = Array2::from_shape_fn((40, 1), |(row, _)| (row % 4) as f64 * 100.0 + (row / 4) as f64);
        let silhouette = Silhouette::of(sample.view());
        let mean = |k| silhouette.mean(&(0..40_usize).map(|row| row % 4 % k).collect::<Vec<_>>());
        assert!(mean(4) > 0.9);
        assert!(mean(4) > mean(3) && mean(3) > mean(2));
    }

    #[test]
    fn is_defined_for_degenerate_clusterings() {
        let same = Silhouette::of(Array2::zeros((5, 2)).view());
        assert_eq!(same.mean(&[0, 0, 0, 0, 0]), 0.0);
        assert_eq!(same.mean(&[0, 1, 0, 1, 0]), 0.0);
        assert_eq!(same.mean(&[0, 1, 2, 3, 4]), 0.0);
        assert_eq!(Silhouette::of(Array2::zeros((0, 2)).view()).mean(&[]), 0.0);
    }
}
