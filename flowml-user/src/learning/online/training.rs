//! What a batch of rows changes: it moves the clusters, or is added to the statistics of clusters that stay as they are.

use super::update::{Pace, Update};
use crate::learning::cluster::kmeans::Clusters;
use crate::learning::statistics::Statistics;

/// The rows of a batch that are trained on.
pub(crate) struct Training<'a> {
    /// The move of the clusters, unless they stay as they are.
    update: Option<Update>,
    /// The statistics, if they are gathered.
    statistics: Option<&'a mut Statistics>,
}

impl<'a> Training<'a> {
    /// Moves these clusters.
    pub(super) fn moving(clusters: &Clusters) -> Self {
        Self { update: Some(Update::new(clusters)), statistics: None }
    }

    /// Moves no cluster.
    pub(super) const fn fixed(statistics: Option<&'a mut Statistics>) -> Self {
        Self { update: None, statistics }
    }

    /// Counts a score with which probabilities are calibrated.
    pub(super) fn count(&mut self, cluster: usize, score: f64) {
        if let Some(statistics) = &mut self.statistics {
            statistics.count(cluster, score);
        }
    }

    /// Adds a vector of `cluster` at this squared distance from its centroid.
    pub(super) fn add(&mut self, cluster: usize, vector: &[f64], distance2: f64) {
        if let Some(update) = &mut self.update {
            update.add(cluster, vector, distance2);
        }
        if let Some(statistics) = &mut self.statistics {
            statistics.add(cluster, vector, distance2);
        }
    }

    /// Moves the clusters.
    pub(super) fn train(self, clusters: &mut Clusters, pace: Pace) {
        if let Some(update) = self.update {
            update.train(clusters, pace);
        }
    }
}
