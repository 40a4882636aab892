//! Support vectors with a Gaussian kernel: the training rows that a support vector machine keeps.

use std::fmt;

use linfa_svm::Svm;
use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::learning::checked::{Checked, Outcome, all_within, any, as_many, checked, divisor, within};

/// Weights up to this belong to rows that have no effect. It is linfa's own bound (100 times the precision of `f64`).
const NO_WEIGHT: f64 = 100.0 * f64::EPSILON;

/// The decision `Σ α·exp(−‖x − v‖² / width) − ρ`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct SupportVectors {
    width: f64,
    rho: f64,
    weights: Vec<f64>,
    vectors: Vec<Vec<f64>>,
}

checked!(SupportVectors);

impl Checked for SupportVectors {
    const NAME: &str = "support vectors";

    fn check(&self) -> Outcome {
        within("width", self.width, divisor())?;
        within("rho", self.rho, any())?;
        as_many("weights", self.weights.len(), self.vectors.len())?;
        all_within("weights", &self.weights, &any())?;
        all_within("vectors", self.vectors.iter().flatten(), &any())
    }
}

impl SupportVectors {
    /// The kernel width that scikit-learn calls `scale`: the number of encoded features times the variance of all
    /// values.
    pub(crate) fn usual_width(rows: ArrayView2<'_, f64>) -> f64 {
        (rows.ncols() as f64 * rows.var(0.0)).max(1e-9)
    }

    /// The support vectors of a model that linfa trained on these rows with a kernel of this width.
    pub(crate) fn of<T>(fitted: &Svm<f64, T>, rows: ArrayView2<'_, f64>, width: f64) -> Self {
        let counting = fitted.alpha.iter().zip(rows.outer_iter()).filter(|(alpha, _)| alpha.abs() > NO_WEIGHT);
        let (weights, vectors) = counting.map(|(alpha, row)| (*alpha, row.to_vec())).unzip();
        Self { width, rho: fitted.rho, weights, vectors }
    }

    /// The decision value for each row, positive inside.
    pub(crate) fn decide(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        let decide = |row: ArrayView1<'_, f64>| {
            let kernel = |vector: &Vec<f64>| {
                let distance2: f64 = row.iter().zip(vector).map(|(x, v)| (x - v) * (x - v)).sum();
                (-distance2 / self.width).exp()
            };
            let sum: f64 = self.weights.iter().zip(&self.vectors).map(|(weight, vector)| weight * kernel(vector)).sum();
            sum - self.rho
        };
        rows.outer_iter().map(decide).collect()
    }

    /// The inconsistency of a model that was read from a file, if there is one, for rows of `width` encoded features.
    pub(crate) fn inconsistency(&self, width: usize) -> Option<String> {
        let fits = self.vectors.iter().all(|vector| vector.len() == width);
        (!fits).then(|| format!("its support vectors are not of {width} encoded features"))
    }
}

impl fmt::Display for SupportVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} support vectors", self.vectors.len())
    }
}
