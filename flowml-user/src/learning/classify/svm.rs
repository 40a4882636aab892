//! Support vector machines (Cortes and Vapnik 1995), one for each class against all others, trained with linfa.

use linfa::DatasetBase;
use linfa::traits::Fit;
use linfa_svm::Svm;
use ndarray::{Array1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::classifier::{Classifier, FitClassifier, TrainingSet, largest};
use crate::learning::checked::{Checked, Outcome, checked, holds};
use crate::learning::error::LearnError;
use crate::learning::sample::sample;
use crate::learning::vectors::SupportVectors;

/// The largest number of training rows. The kernel matrix is quadratic in it and takes 72 MB.
const FIT_ROWS: usize = 3000;

/// The cost of a row on the wrong side.
const COST: f64 = 1.0;

/// A boundary around each class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct OneAgainstRest {
    /// `None` for a class that was not in the sample.
    classes: Vec<Option<SupportVectors>>,
}

checked!(OneAgainstRest);

impl Checked for OneAgainstRest {
    const NAME: &str = "boundaries of classes";

    fn check(&self) -> Outcome {
        holds(self.classes.iter().any(Option::is_some), "expected a boundary of at least one of 'classes'")?;
        self.classes.iter().flatten().try_for_each(SupportVectors::check)
    }
}

impl FitClassifier for OneAgainstRest {
    fn fit(training: &TrainingSet<'_>) -> Result<Self, LearnError> {
        let chosen = sample(training.rows.nrows(), FIT_ROWS, training.seed);
        let rows = training.rows.select(Axis(0), &chosen);
        let width = SupportVectors::usual_width(rows.view());
        let params = Svm::<f64, bool>::params().gaussian_kernel(width).pos_neg_weights(COST, COST);
        let failed = |error: linfa_svm::SvmError| LearnError::Failed {
            what: "the support vector machine",
            reason: error.to_string(),
        };
        let class = |class: usize| {
            let targets: Array1<bool> = chosen.iter().map(|&row| training.classes[row] == class).collect();
            if !targets.iter().any(|own| *own) {
                return Ok(None);
            }
            let fitted = params.fit(&DatasetBase::new(rows.clone(), targets)).map_err(failed)?;
            Ok(Some(SupportVectors::of(&fitted, rows.view(), width)))
        };
        // For two classes, one boundary is enough.
        match training.count {
            2 => Ok(Self { classes: vec![None, class(1)?] }),
            count => Ok(Self { classes: (0..count).map(class).collect::<Result<_, _>>()? }),
        }
    }
}

impl Classifier for OneAgainstRest {
    fn classify(&self, rows: ArrayView2<'_, f64>) -> Vec<usize> {
        let none = if self.classes.len() == 2 { 0.0 } else { f64::MIN };
        let decide = |class: &Option<SupportVectors>| class.as_ref().map(|vectors| vectors.decide(rows));
        let decisions: Vec<Option<Vec<f64>>> = self.classes.iter().map(decide).collect();
        let class = |row: usize| largest(decisions.iter().map(|class| class.as_ref().map_or(none, |all| all[row])));
        (0..rows.nrows()).map(class).collect()
    }

    fn describe(&self) -> String {
        let vectors: Vec<String> = self.classes.iter().flatten().map(SupportVectors::to_string).collect();
        vectors.join("; ")
    }

    fn inconsistency(&self, width: usize, classes: usize) -> Option<String> {
        if self.classes.len() != classes {
            return Some(format!("its boundaries are not of {classes} classes"));
        }
        self.classes.iter().flatten().find_map(|vectors| vectors.inconsistency(width))
    }
}
