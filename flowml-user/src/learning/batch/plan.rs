//! The plan of a model: its task, and the parameters of training.

use serde::{Deserialize, Serialize};

use crate::learning::checked::{Checked, Outcome, SHARES, checked, holds, within};
use crate::learning::classify::ClassifierKind;
use crate::learning::detect::DetectorKind;
use crate::learning::preprocess::{Frame, Parameters, Scaling};
use crate::learning::select::Selection;

/// The class of all labels except the benign one, if there are two classes.
pub const ATTACK: &str = "attack";

/// The task of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Learn what normal rows look like.
    Detect(DetectorKind),
    /// Predict the class of a row.
    Classify(ClassifierKind),
}

impl Task {
    /// The name of the algorithm.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detect(kind) => kind.name(),
            Self::Classify(kind) => kind.name(),
        }
    }
}

/// The parameters of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Plan {
    /// The task.
    pub task: Task,
    /// The scaling of numbers; by default robust for detectors and standard for classifiers.
    pub scaling: Option<Scaling>,
    /// The selection of encoded features; by default all are used.
    pub selection: Option<Selection>,
    /// The number of clusters, if it is given.
    pub k: Option<usize>,
    /// Seed of random choices. The same rows and seed give the same model.
    pub seed: u64,
    /// A row whose probability is below this is an anomaly.
    pub alpha: f64,
    /// The label of normal rows. With it, classifiers have two classes; without it, one for each label.
    pub benign: Option<String>,
    /// Whether detectors are trained on all rows instead of the benign ones only.
    pub all_rows: bool,
}

checked!(Plan);

impl Checked for Plan {
    const NAME: &str = "plan";

    fn check(&self) -> Outcome {
        holds(self.k != Some(0), "expected 'k' of at least 1")?;
        within("alpha", self.alpha, SHARES)
    }
}

impl Plan {
    pub(super) fn parameters(&self, frame: &Frame) -> Parameters {
        match self.task {
            Task::Detect(_) => {
                let of = if frame.is_of_features() {
                    Parameters::for_detectors_of_features
                } else {
                    Parameters::for_detectors
                };
                of(self.scaling.unwrap_or(Scaling::Robust))
            }
            Task::Classify(_) => Parameters::for_classifiers(self.scaling.unwrap_or(Scaling::Standard)),
        }
    }

    /// The class of a label.
    #[must_use]
    pub fn class<'a>(&self, label: &'a str) -> &'a str {
        if self.benign.as_deref().is_none_or(|benign| benign == label) { label } else { ATTACK }
    }
}
