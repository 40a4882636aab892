//! Mini-batch k-means with forgetting: how clusters are trained on normal rows after the warm-up.

use crate::learning::cluster::kmeans::Clusters;

/// The speed at which clusters follow their rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The weight of a past row after one more batch, 0–1.
    pub(crate) decay: f64,
    /// The largest fraction of the way to a batch's mean by which the batch can move a centroid, below 1.
    pub(crate) step: f64,
}

impl Pace {
    /// Halves the weight of past rows after `half_life` batches.
    pub(crate) fn new(half_life: f64, step: f64) -> Self {
        Self { decay: 0.5_f64.powf(1.0 / half_life.max(1e-3)), step: step.clamp(0.0, 0.99) }
    }
}

/// The normal rows of one batch, summed by cluster.
pub(crate) struct Update {
    width: usize,
    rows: Vec<f64>,
    /// For each cluster, the sums of its encoded features.
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Update {
    pub(crate) fn new(clusters: &Clusters) -> Self {
        let (k, width) = (clusters.len(), clusters.width());
        Self { width, rows: vec![0.0; k], sums: vec![0.0; k * width], squares: vec![0.0; k] }
    }

    /// Adds a vector of `cluster` at this squared distance from its centroid.
    pub(crate) fn add(&mut self, cluster: usize, vector: &[f64], distance2: f64) {
        self.rows[cluster] += 1.0;
        self.squares[cluster] += distance2;
        let sums = &mut self.sums[cluster * self.width..][..self.width];
        for (sum, x) in sums.iter_mut().zip(vector) {
            *sum += x;
        }
    }

    /// Moves the clusters: `c ← (c·n·a + m·x̄) / (n·a + m)` with `n` past rows, `a` the decay and `m` rows of mean `x̄`
    /// in this batch. `m` is limited so that the move is at most the step. A batch without rows changes nothing.
    pub(crate) fn train(mut self, clusters: &mut Clusters, pace: Pace) {
        if self.rows.iter().all(|rows| *rows == 0.0) {
            return;
        }
        for cluster in 0..clusters.len() {
            // A cluster without recent rows counts as one row, so that it can follow new ones.
            let past = (clusters.rows[cluster] * pace.decay).max(1.0);
            let most = past * pace.step / (1.0 - pace.step);
            let found = self.rows[cluster];
            let counted = found.min(most);
            clusters.rows[cluster] = past + counted;
            if found > 0.0 {
                let part = counted / (past + counted);
                let mean = &mut self.sums[cluster * self.width..][..self.width];
                mean.iter_mut().for_each(|sum| *sum /= found);
                clusters.pull(cluster, mean, part);
                clusters.spread[cluster] += (self.squares[cluster] / found - clusters.spread[cluster]) * part;
            }
        }
        clusters.refresh();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn one_cluster(rows: usize, at: f64) -> Clusters {
        Clusters::fit(Array2::from_elem((rows, 2), at).view(), &[1.0; 2], 1, 0)
    }

    fn train(clusters: &mut Clusters, at: f64, rows: usize, pace: Pace) {
        let mut update = Update::new(clusters);
        for _ in 0..rows {
            let center: Vec<f64> = clusters.centroid(0).collect();
            update.add(0, &[at, at], center.iter().map(|c| (at - c) * (at - c)).sum());
        }
        update.train(clusters, pace);
    }

    #[test]
    fn one_batch_gives_the_weighted_mean() {
        let mut clusters = one_cluster(90, 0.0);
        train(&mut clusters, 1.0, 10, Pace { decay: 0.5, step: 0.9 });
        // 90 rows at 0 count half, 10 rows at 1 count fully.
        let center: Vec<f64> = clusters.centroid(0).collect();
        assert!((center[0] - 10.0 / 55.0).abs() < 1e-12);
        assert!((clusters.rows[0] - 55.0).abs() < 1e-12);
    }

    #[test]
    fn the_past_counts_half_after_the_half_life() {
        let pace = Pace::new(10.0, 0.9);
        let mut clusters = one_cluster(1000, 0.0);
        (0..10).for_each(|_| train(&mut clusters, 0.0, 1, pace));
        let trained_on: f64 = (0..10).map(|age| pace.decay.powi(age)).sum();
        assert!((clusters.rows[0] - (500.0 + trained_on)).abs() < 1e-9, "{}", clusters.rows[0]);
    }

    #[test]
    fn with_forgetting_the_centroid_reaches_new_rows() {
        let mut forgets = one_cluster(300, 0.0);
        let mut remembers = one_cluster(300, 0.0);
        for _ in 0..300 {
            train(&mut forgets, 1.0, 2, Pace::new(30.0, 0.1));
            train(&mut remembers, 1.0, 2, Pace::new(1e9, 0.1));
        }
        assert!(forgets.centroid(0).all(|c| c > 0.99));
        assert!(remembers.centroid(0).all(|c| c < 0.7));
    }

    #[test]
    fn one_batch_moves_a_centroid_by_no_more_than_the_step() {
        let mut clusters = one_cluster(10, 0.0);
        train(&mut clusters, 100.0, 100_000, Pace::new(600.0, 0.1));
        assert!(clusters.centroid(0).all(|c| (c - 10.0).abs() < 1e-9));
        assert!(clusters.rows[0] < 12.0);
    }

    #[test]
    fn a_batch_without_rows_changes_nothing() {
        let mut clusters = one_cluster(10, 0.0);
        let before = clusters.clone();
        Update::new(&clusters).train(&mut clusters, Pace::new(1.0, 0.1));
        assert_eq!(clusters, before);
    }
}
