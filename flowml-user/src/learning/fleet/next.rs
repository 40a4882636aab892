//! The next model: centroids are the merged means, and scales, radii and probabilities follow from the same sums.

use super::total::Total;
use crate::learning::calibration::probability::Calibration;
use crate::learning::cluster::kmeans::Clusters;
use crate::learning::online::fitted::Fitted;
use crate::learning::online::settings::Settings;
use crate::learning::statistics::sketch::{range, spread_out};

/// The scale of a column stays if the standard deviation of its rows around their centroids is at most this many scales,
/// and at least the inverse. Models with the same scales are comparable.
const KEPT: f64 = 2.0;

/// Squared distances below this fraction of the squared values are not known, because they are differences of large sums.
const ROUNDING: f64 = 1e-6;

/// The merged statistics of a learner, and the model under which they were gathered.
pub(super) struct Next<'a> {
    parent: &'a Fitted,
    totals: &'a [Total],
    /// For each encoded feature, the new scale is the old one divided by this.
    factors: Vec<f64>,
    means: Vec<Vec<f64>>,
}

impl<'a> Next<'a> {
    pub(super) fn new(parent: &'a Fitted, totals: &'a [Total]) -> Self {
        let means = (0..).zip(totals).map(|(cluster, total)| means(&parent.clusters, cluster, total)).collect();
        Self { parent, totals, factors: Vec::new(), means }
    }

    /// Makes the model. Also returns the number of columns whose scale is new.
    pub(super) fn fitted(mut self, settings: &Settings) -> (Fitted, usize) {
        let (scaler, factors) = self.parent.scaler.rescaled(&self.spreads(), 1.0 / KEPT..=KEPT);
        let rescaled = factors.iter().filter(|factor| **factor != 1.0).count();
        self.factors = factors;
        let old = &self.parent.clusters;
        let stretches: Vec<f64> = (0..old.len()).map(|cluster| self.stretch(cluster)).collect();
        let radius2 = |(cluster, total): (usize, &Total)| match total.rows() {
            // The radius of a cluster without rows stays as it is.
            0 => old.spread[cluster] * stretches[cluster],
            // The centroid uses up one degree of freedom.
            rows => total.distance() / (rows - 1).max(1) as f64 * stretches[cluster],
        };
        let spread = self.totals.iter().enumerate().map(radius2).collect();
        let rows = self.totals.iter().map(|total| total.rows() as f64).collect();
        let centroids: Vec<Vec<f64>> = self
            .means
            .iter()
            .map(|mean| mean.iter().zip(&self.factors).map(|(mean, factor)| mean * factor).collect())
            .collect();
        let clusters = old.with(&centroids, rows, spread);
        let typical = self.parent.typical.moved(|cluster, feature| {
            (self.means[cluster][feature] - old.value(cluster, feature), self.factors[feature])
        });
        let calibration = self.calibration(&clusters, &stretches, settings);
        (Fitted { scaler, clusters, typical, calibration }, rescaled)
    }

    /// For each encoded feature, the standard deviation of all rows around the new centroid of their cluster.
    fn spreads(&self) -> Vec<f64> {
        let rows: f64 = self.totals.iter().map(|total| total.rows() as f64).sum();
        let mut squares = vec![0.0; self.parent.clusters.width()];
        for (total, mean) in self.totals.iter().zip(&self.means) {
            for ((square, (sum, of_values)), mean) in squares.iter_mut().zip(total.sums()).zip(mean) {
                *square += (of_values - sum * mean).max(0.0);
            }
        }
        squares.into_iter().map(|square| (square / rows.max(1.0)).sqrt()).collect()
    }

    /// The factor by which the mean squared distance of the rows of a cluster changes, as the centroid moves and scales
    /// change. The sums give it for distances without weights, and the weighted distance is multiplied by the same factor.
    fn stretch(&self, cluster: usize) -> f64 {
        let (total, old) = (&self.totals[cluster], &self.parent.clusters);
        let mean_factor2 =
            self.factors.iter().map(|factor| factor * factor).sum::<f64>() / self.factors.len().max(1) as f64;
        let rows = total.rows() as f64;
        let [mut before, mut after, mut size] = [0.0; 3];
        for (feature, ((sum, square), factor)) in total.sums().zip(&self.factors).enumerate() {
            let (centroid, mean) = (old.value(cluster, feature), self.means[cluster][feature]);
            before += (square - 2.0 * centroid * sum + rows * centroid * centroid).max(0.0);
            after += (square - mean * sum).max(0.0) * factor * factor;
            size += square + rows * centroid * centroid;
        }
        // Of rows that are all at the centroid, rounding would decide.
        if before > ROUNDING * size { after / before } else { mean_factor2 }
    }

    /// The probabilities, from the scores of the rows. These were computed with the old distances and shares, and are
    /// converted to the new ones.
    fn calibration(&self, clusters: &Clusters, stretches: &[f64], settings: &Settings) -> Calibration {
        let old = &self.parent.clusters;
        let of_cluster = |(cluster, total): (usize, &'a Total)| {
            let convert = {
                let stretch = stretches[cluster];
                move |score: f64| clusters.score(cluster, old.distance2(cluster, score) * stretch)
            };
            total.scores().iter().enumerate().map(move |(bin, count)| (range(bin).map(&convert), *count))
        };
        let scores = spread_out(self.totals.iter().enumerate().flat_map(of_cluster), settings.calibration_scores);
        Calibration::new(&scores, settings.calibration_scores, settings.alpha)
    }
}

/// The mean of the rows of a cluster. Without rows it is the old centroid.
fn means(clusters: &Clusters, cluster: usize, total: &Total) -> Vec<f64> {
    match total.rows() {
        0 => clusters.centroid(cluster).collect(),
        rows => total.sums().map(|(sum, _)| sum / rows as f64).collect(),
    }
}
