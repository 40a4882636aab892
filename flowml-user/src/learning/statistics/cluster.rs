//! The statistics of the rows of each cluster, and their accumulation in a run.

use super::identity::ModelIdentity;
use super::sketch::{BINS, bin};

/// The statistics of the rows of a cluster. Those of several agents and times are added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterSums {
    /// The number of rows.
    pub rows: u64,
    /// The sum of the squared distances of these rows from the centroid.
    pub distance: f64,
    /// For each encoded feature, the sum of its values.
    pub sums: Vec<f64>,
    /// For each encoded feature, the sum of the squares of its values.
    pub squares: Vec<f64>,
    /// For each bin of the score, the number of rows with which probabilities are calibrated. These are the rows above
    /// and a few unusual ones, because probabilities need the tail of the scores.
    pub scores: Vec<u64>,
}

impl ClusterSums {
    fn new(width: usize) -> Self {
        let (sums, squares, scores) = (vec![0.0; width], vec![0.0; width], vec![0; BINS]);
        Self { rows: 0, distance: 0.0, sums, squares, scores }
    }

    /// Whether no row was added.
    fn is_empty(&self) -> bool {
        self.rows == 0 && self.scores.iter().all(|count| *count == 0)
    }

    /// The memory of the statistics, bytes.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.sums) + size_of_val(&*self.squares) + size_of_val(&*self.scores)
    }
}

/// The statistics that an agent sends: those of the rows of one cluster in about a minute.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterStatistics {
    /// The model that scored the rows.
    pub model: ModelIdentity,
    /// The kind of its rows: `flows` or `hosts`.
    pub learner: &'static str,
    /// The start of the time, Unix time in ms.
    pub start_ms: u64,
    /// The end of the time, Unix time in ms.
    pub end_ms: u64,
    /// The number of the cluster.
    pub cluster: u32,
    /// The statistics.
    pub sums: ClusterSums,
}

/// The statistics of a cluster of a model, before their time is known.
pub(crate) type Gathered = (ModelIdentity, u32, ClusterSums);

/// Adds up the statistics of rows, by cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statistics {
    width: usize,
    clusters: Vec<ClusterSums>,
}

impl Statistics {
    /// Without rows, for `clusters` clusters of vectors of `width` encoded features.
    pub(crate) fn new(clusters: usize, width: usize) -> Self {
        Self { width, clusters: vec![ClusterSums::new(width); clusters] }
    }

    /// Counts a score with which probabilities are calibrated.
    #[inline]
    pub(crate) fn count(&mut self, cluster: usize, score: f64) {
        self.clusters[cluster].scores[bin(score)] += 1;
    }

    /// Adds a row of `cluster` at this squared distance from its centroid. Its score is counted separately.
    #[inline]
    pub(crate) fn add(&mut self, cluster: usize, vector: &[f64], distance2: f64) {
        let ClusterSums { rows, distance, sums, squares, .. } = &mut self.clusters[cluster];
        *rows += 1;
        *distance += distance2;
        for ((sum, square), x) in sums.iter_mut().zip(squares).zip(vector) {
            *sum += x;
            *square += x * x;
        }
    }

    /// The statistics of each cluster with rows. Begins again.
    pub(crate) fn take(&mut self) -> Vec<(u32, ClusterSums)> {
        let width = self.width;
        let used = (0..).zip(&mut self.clusters).filter(|(_, sums)| !sums.is_empty());
        used.map(|(cluster, sums)| (cluster, std::mem::replace(sums, ClusterSums::new(width)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_to_their_cluster_and_taken_once() {
        let mut statistics = Statistics::new(3, 2);
        statistics.add(2, &[1.0, -2.0], 0.5);
        statistics.add(2, &[3.0, 4.0], 1.5);
        statistics.count(2, 1.0);
        statistics.count(0, 0.0);
        let taken = statistics.take();
        let [(0, first), (2, last)] = &taken[..] else { panic!("{taken:?}") };
        assert_eq!((first.rows, first.scores[0], first.scores.iter().sum::<u64>()), (0, 1, 1));
        assert_eq!((last.rows, last.distance, last.scores[16]), (2, 2.0, 1));
        assert_eq!((&last.sums[..], &last.squares[..]), (&[4.0, 2.0][..], &[10.0, 20.0][..]));
        assert_eq!(statistics, Statistics::new(3, 2));
        assert_eq!(statistics.take(), []);
    }
}
