//! A Gaussian mixture with diagonal covariances, fitted by expectation maximisation.
//!
//! linfa's implementation has full covariances and takes the logarithm of summed densities. With a hundred encoded
//! features, the densities of all components underflow for most rows, and every one-hot feature makes its covariances
//! singular. This implementation sums logarithms. It starts from linfa's k-means.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::detector::{Detector, FitDetector, Training};
use crate::learning::checked::{Checked, Outcome, SMALLEST, all_within, any, checked, divisor, holds, within};
use crate::learning::cluster::kmeans::Clusters;
use crate::learning::error::LearnError;
use crate::learning::sample::sample;

/// The largest number of training rows.
const FIT_ROWS: usize = 20_000;

/// The default number of components.
const COMPONENTS: usize = 8;

/// The largest number of rounds of expectation maximisation.
const ROUNDS: usize = 100;

/// The fit has converged when the mean log-likelihood of a row rises by less than this.
const GAIN: f64 = 1e-3;

/// Added to every variance, because a value that is constant in a component can still change.
const VARIANCE_FLOOR: f64 = 0.05;

/// The components of the mixture. The score is `−ln` of the density.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct GaussianMixture {
    components: Vec<Component>,
}

checked!(GaussianMixture);

impl Checked for GaussianMixture {
    const NAME: &str = "mixture";

    fn check(&self) -> Outcome {
        holds(!self.components.is_empty(), "expected at least one of 'components'")?;
        self.components.iter().try_for_each(Component::check)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Component {
    weight: f64,
    means: Vec<f64>,
    variances: Vec<f64>,
}

checked!(Component);

impl Checked for Component {
    const NAME: &str = "component of the mixture";

    fn check(&self) -> Outcome {
        // Weights are means of responsibilities, plus rounding errors.
        within("weight", self.weight, SMALLEST..=1.0 + 1e-6)?;
        all_within("means", &self.means, &any())?;
        all_within("variances", &self.variances, &divisor())
    }
}

impl Component {
    /// The component of rows that belong to it with these responsibilities.
    fn of(rows: ArrayView2<'_, f64>, parts: ArrayView1<'_, f64>) -> Self {
        let all = parts.sum().max(f64::MIN_POSITIVE);
        let means = rows.t().dot(&parts) / all;
        let squares = rows.mapv(|x| x * x).t().dot(&parts) / all;
        let variances =
            squares.iter().zip(&means).map(|(square, mean)| (square - mean * mean).max(0.0) + VARIANCE_FLOOR);
        Self { weight: all / rows.nrows() as f64, variances: variances.collect(), means: means.to_vec() }
    }

    /// `ln` of the component's weight and density at a row; `constant` is [`Self::constant`].
    fn log_density(&self, row: ArrayView1<'_, f64>, constant: f64) -> f64 {
        let features = row.iter().zip(&self.means).zip(&self.variances);
        constant - 0.5 * features.map(|((x, mean), variance)| (x - mean) * (x - mean) / variance).sum::<f64>()
    }

    /// The terms of [`Self::log_density`] that are the same for all rows.
    fn constant(&self) -> f64 {
        let log_variances: f64 = self.variances.iter().map(|variance| (std::f64::consts::TAU * variance).ln()).sum();
        self.weight.ln() - 0.5 * log_variances
    }
}

/// `ln Σ exp`, without underflow.
fn log_sum(logs: ArrayView1<'_, f64>) -> f64 {
    let most = logs.fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    most + logs.iter().map(|log| (log - most).exp()).sum::<f64>().ln()
}

impl GaussianMixture {
    /// For each row and component, `ln` of weight and density.
    fn log_densities(&self, rows: ArrayView2<'_, f64>) -> Array2<f64> {
        let constants: Vec<f64> = self.components.iter().map(Component::constant).collect();
        Array2::from_shape_fn((rows.nrows(), self.components.len()), |(row, component)| {
            self.components[component].log_density(rows.row(row), constants[component])
        })
    }

    fn maximise(rows: ArrayView2<'_, f64>, parts: &Array2<f64>) -> Self {
        // A component with the weight of less than one row is dropped.
        let kept = parts.columns().into_iter().filter(|parts| parts.sum() >= 1.0);
        Self { components: kept.map(|parts| Component::of(rows, parts)).collect() }
    }
}

impl FitDetector for GaussianMixture {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError> {
        let rows = training.rows.select(Axis(0), &sample(training.rows.nrows(), FIT_ROWS, training.seed));
        let even = vec![1.0; rows.ncols()];
        let start = Clusters::fit(rows.view(), &even, training.k.unwrap_or(COMPONENTS), training.seed);
        let mut parts = Array2::zeros((rows.nrows(), start.len()));
        for (row, mut parts) in rows.outer_iter().zip(parts.rows_mut()) {
            parts[start.nearest_of(row).cluster] = 1.0;
        }
        let mut mixture = Self::maximise(rows.view(), &parts);
        let mut before = f64::NEG_INFINITY;
        for _ in 0..ROUNDS {
            let mut logs = mixture.log_densities(rows.view());
            let mut likelihood = 0.0;
            for mut logs in logs.rows_mut() {
                let all = log_sum(logs.view());
                likelihood += all / rows.nrows() as f64;
                logs.mapv_inplace(|log| (log - all).exp());
            }
            mixture = Self::maximise(rows.view(), &logs);
            if likelihood - before < GAIN {
                break;
            }
            before = likelihood;
        }
        Ok(mixture)
    }
}

impl Detector for GaussianMixture {
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        self.log_densities(rows).rows().into_iter().map(|logs| -log_sum(logs)).collect()
    }

    fn clusters(&self, rows: ArrayView2<'_, f64>) -> Option<Vec<usize>> {
        let likeliest =
            |logs: ArrayView1<'_, f64>| (0..logs.len()).max_by(|&a, &b| logs[a].total_cmp(&logs[b])).unwrap_or(0);
        Some(self.log_densities(rows).rows().into_iter().map(likeliest).collect())
    }

    fn describe(&self) -> String {
        format!("{} components", self.components.len())
    }

    fn inconsistency(&self, width: usize) -> Option<String> {
        let fits = |component: &Component| component.means.len() == width && component.variances.len() == width;
        (!self.components.iter().all(fits)).then(|| format!("its components are not of {width} encoded features"))
    }
}
