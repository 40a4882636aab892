//! One-class support vector machine (Schölkopf and others 2001), trained with linfa.

use linfa::DatasetBase;
use linfa::dataset::Pr;
use linfa::traits::Fit;
use linfa_svm::Svm;
use ndarray::{Array1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::detector::{Detector, FitDetector, Training};
use crate::learning::checked::{Checked, Outcome};
use crate::learning::error::LearnError;
use crate::learning::sample::sample;
use crate::learning::vectors::SupportVectors;

/// The largest number of training rows. The kernel matrix is quadratic in it and takes 32 MB.
const FIT_ROWS: usize = 2000;

/// The fraction of the training rows that may be outside the boundary.
const NU: f64 = 0.05;

/// A boundary in the space of a Gaussian kernel. The score is the distance outside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct OneClassSvm(SupportVectors);

impl Checked for OneClassSvm {
    const NAME: &str = SupportVectors::NAME;

    fn check(&self) -> Outcome {
        self.0.check()
    }
}

impl FitDetector for OneClassSvm {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError> {
        let rows = training.rows.select(Axis(0), &sample(training.rows.nrows(), FIT_ROWS, training.seed));
        let width = SupportVectors::usual_width(rows.view());
        let nothing: Array1<()> = Array1::from_elem(rows.nrows(), ());
        let params = Svm::<f64, Pr>::params().gaussian_kernel(width).nu_weight(NU);
        let failed = |error: linfa_svm::SvmError| LearnError::Failed {
            what: "the support vector machine",
            reason: error.to_string(),
        };
        let fitted: Svm<f64, bool> = params.fit(&DatasetBase::new(rows.clone(), nothing)).map_err(failed)?;
        Ok(Self(SupportVectors::of(&fitted, rows.view(), width)))
    }
}

impl Detector for OneClassSvm {
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        self.0.decide(rows).into_iter().map(|inside| -inside).collect()
    }

    fn describe(&self) -> String {
        self.0.to_string()
    }

    fn inconsistency(&self, width: usize) -> Option<String> {
        self.0.inconsistency(width)
    }
}
