//! Gaussian naive Bayes, trained with linfa.

use std::collections::BTreeMap;

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_bayes::GaussianNb;
use ndarray::{Array1, ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use super::classifier::{Classifier, FitClassifier, TrainingSet, largest};
use crate::learning::checked::{Checked, Outcome, SMALLEST, all_within, any, checked, divisor, holds, within};
use crate::learning::error::LearnError;

/// Mean and variance of each encoded feature in each class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct NaiveBayes {
    classes: Vec<Class>,
}

checked!(NaiveBayes);

impl Checked for NaiveBayes {
    const NAME: &str = "naive Bayes";

    fn check(&self) -> Outcome {
        holds(!self.classes.is_empty(), "expected at least one of 'classes'")?;
        self.classes.iter().try_for_each(Class::check)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Class {
    prior: f64,
    means: Vec<f64>,
    variances: Vec<f64>,
}

checked!(Class);

impl Checked for Class {
    const NAME: &str = "class of naive Bayes";

    fn check(&self) -> Outcome {
        within("prior", self.prior, SMALLEST..=1.0 + 1e-6)?;
        all_within("means", &self.means, &any())?;
        all_within("variances", &self.variances, &divisor())
    }
}

/// linfa's model in the form in which serde writes it, the only access to its parameters. linfa looks classes up in a
/// hash table whose order varies. Here classes have a fixed order, so that equal likelihoods give equal results.
#[derive(Deserialize)]
struct Shown {
    class_info: BTreeMap<usize, ShownClass>,
}

#[derive(Deserialize)]
struct ShownClass {
    prior: f64,
    theta: Array1<f64>,
    sigma: Array1<f64>,
}

impl FitClassifier for NaiveBayes {
    fn fit(training: &TrainingSet<'_>) -> Result<Self, LearnError> {
        let failed = |reason: String| LearnError::Failed { what: "naive Bayes", reason };
        let targets = Array1::from(training.classes.to_vec());
        let dataset = DatasetBase::new(training.rows, targets);
        let fitted: GaussianNb<f64, usize> =
            GaussianNb::params().fit(&dataset).map_err(|error| failed(error.to_string()))?;
        let shown: Shown = serde_json::to_value(&fitted)
            .and_then(serde_json::from_value)
            .map_err(|error| failed(error.to_string()))?;
        let class = |class: ShownClass| Class {
            prior: class.prior,
            means: class.theta.to_vec(),
            variances: class.sigma.to_vec(),
        };
        Ok(Self { classes: shown.class_info.into_values().map(class).collect() })
    }
}

impl Class {
    fn log_likelihood(&self, row: ArrayView1<'_, f64>) -> f64 {
        let feature = |((x, mean), variance): ((&f64, &f64), &f64)| {
            (std::f64::consts::TAU * variance).ln() + (x - mean) * (x - mean) / variance
        };
        self.prior.ln() - 0.5 * row.iter().zip(&self.means).zip(&self.variances).map(feature).sum::<f64>()
    }
}

impl Classifier for NaiveBayes {
    fn classify(&self, rows: ArrayView2<'_, f64>) -> Vec<usize> {
        rows.outer_iter().map(|row| largest(self.classes.iter().map(|class| class.log_likelihood(row)))).collect()
    }

    fn describe(&self) -> String {
        let shares: Vec<String> = self.classes.iter().map(|class| format!("{:.3}", class.prior)).collect();
        format!("{} classes with the shares {}", self.classes.len(), shares.join(", "))
    }

    fn inconsistency(&self, width: usize, classes: usize) -> Option<String> {
        let fits = |class: &Class| class.means.len() == width && class.variances.len() == width;
        (self.classes.len() != classes || !self.classes.iter().all(fits))
            .then(|| format!("its classes are not {classes} of {width} encoded features"))
    }
}
