//! Multinomial logistic regression, trained with linfa.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_logistic::MultiLogisticRegression;
use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::classifier::{Classifier, FitClassifier, TrainingSet, largest};
use crate::learning::checked::{Checked, LARGEST, Outcome, all_within, any, checked};
use crate::learning::error::LearnError;
use crate::learning::sample::sample;

/// The largest number of training rows.
const FIT_ROWS: usize = 100_000;

/// The largest number of optimisation rounds.
const ROUNDS: u64 = 200;

/// For each class, a weight of each encoded feature and an intercept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct Logistic {
    intercepts: Vec<f64>,
    weights: Vec<Vec<f64>>,
}

checked!(Logistic);

impl Checked for Logistic {
    const NAME: &str = "logistic regression";

    fn check(&self) -> Outcome {
        all_within("intercepts", &self.intercepts, &any())?;
        all_within("weights", self.weights.iter().flatten(), &any())
    }
}

impl Logistic {
    /// The weights of each class.
    pub(crate) fn weights(&self) -> &[Vec<f64>] {
        &self.weights
    }
}

impl FitClassifier for Logistic {
    fn fit(training: &TrainingSet<'_>) -> Result<Self, LearnError> {
        let chosen = sample(training.rows.nrows(), FIT_ROWS, training.seed);
        let rows = training.rows.select(Axis(0), &chosen);
        let targets: Array1<usize> = chosen.iter().map(|&row| training.classes[row]).collect();
        let failed = |error: linfa_logistic::error::Error| LearnError::Failed {
            what: "logistic regression",
            reason: error.to_string(),
        };
        // The prior has the weight of one row, as scikit-learn's C of 1.
        let params = MultiLogisticRegression::default().alpha(1.0).max_iterations(ROUNDS);
        let fitted = params.fit(&DatasetBase::new(rows, targets)).map_err(failed)?;
        // A sample may lack a class, which is then never predicted.
        let place = |class: usize| fitted.classes().iter().position(|own| *own == class);
        let intercept = |class| place(class).map_or(-LARGEST, |place| fitted.intercept()[place]);
        let weights = |class| {
            place(class)
                .map_or_else(|| vec![0.0; training.rows.ncols()], |place| fitted.params().column(place).to_vec())
        };
        Ok(Self {
            intercepts: (0..training.count).map(intercept).collect(),
            weights: (0..training.count).map(weights).collect(),
        })
    }
}

impl Classifier for Logistic {
    fn classify(&self, rows: ArrayView2<'_, f64>) -> Vec<usize> {
        let class = |row: ArrayView1<'_, f64>| {
            let weighed = |weights: &Vec<f64>| row.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f64>();
            largest(self.intercepts.iter().zip(&self.weights).map(|(intercept, weights)| intercept + weighed(weights)))
        };
        rows.outer_iter().map(class).collect()
    }

    fn describe(&self) -> String {
        format!("{} classes", self.intercepts.len())
    }

    fn inconsistency(&self, width: usize, classes: usize) -> Option<String> {
        let fits = self.weights.iter().all(|weights| weights.len() == width);
        (self.intercepts.len() != classes || self.weights.len() != classes || !fits)
            .then(|| format!("its weights are not of {width} encoded features and {classes} classes"))
    }
}
