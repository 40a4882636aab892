//! A model of a table: preprocessing, the selected features, and a detector or classifier.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::plan::{Plan, Task};
use crate::learning::calibration::held_out::CalibrationSet;
use crate::learning::checked::{Checked, Outcome, checked, holds};
use crate::learning::classify::FittedClassifier;
use crate::learning::detect::FittedDetector;
use crate::learning::hash::hash;
use crate::learning::preprocess::{Cleaning, Frame, Preprocessing, Unfit};

/// The training set of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Summary {
    /// Rows of the table.
    pub rows: usize,
    /// Number of rows that the model was trained on.
    pub learnt_rows: usize,
    /// Number of rows in the calibration set. A detector is not calibrated on rows that it was trained on. With five
    /// inputs or more, the rows of an input are scored by a model of the other inputs.
    pub held_out_rows: usize,
    /// Number of rows with each label.
    pub labels: BTreeMap<String, usize>,
}

checked!(Summary);

impl Checked for Summary {
    const NAME: &str = "summary";

    fn check(&self) -> Outcome {
        let most = self.learnt_rows.max(self.held_out_rows);
        holds(most <= self.rows, "the training and calibration sets have more rows than the table")
    }
}

/// The results of a model for rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Results of a detector: a score, larger for more anomalous rows, and the probability that a normal row has a
    /// score at least as high.
    Scores {
        /// The scores.
        scores: Vec<f64>,
        /// The probabilities.
        probabilities: Vec<f64>,
        /// The clusters, for a detector with clusters.
        clusters: Option<Vec<usize>>,
    },
    /// Results of a classifier: the indices of the classes.
    Classes(Vec<usize>),
}

/// A trained detector or classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Learnt {
    Detector { fitted: FittedDetector, calibration_set: Box<CalibrationSet> },
    Classifier { classes: Vec<String>, fitted: FittedClassifier },
}

impl Learnt {
    /// The task for which it was trained.
    fn task(&self) -> Task {
        match self {
            Self::Detector { fitted, .. } => Task::Detect(fitted.kind()),
            Self::Classifier { fitted, .. } => Task::Classify(fitted.kind()),
        }
    }
}

/// A model of a table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Parts")]
pub struct TableModel {
    pub(super) header: Header,
    pub(super) learnt: Learnt,
}

/// The human-readable part: everything except the trained detector or classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// A hash of the columns and how they are encoded.
    pub(super) columns_hash: String,
    pub(super) plan: Plan,
    pub(super) summary: Summary,
    pub(super) preprocessing: Preprocessing,
    /// The encoded features that are used; `None` for all.
    pub(super) slots: Option<Vec<usize>>,
}

/// The parts of a model as they are read, which may not fit each other.
#[derive(Deserialize)]
struct Parts {
    #[serde(flatten)]
    header: Header,
    model: Learnt,
}

impl TryFrom<Parts> for TableModel {
    type Error = String;

    /// The model, if its parts are consistent.
    fn try_from(parts: Parts) -> Result<Self, String> {
        let model = Self { header: parts.header, learnt: parts.model };
        match model.inconsistency() {
            Some(reason) => Err(reason),
            None => Ok(model),
        }
    }
}

impl TableModel {
    /// The parameters of training.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.header.plan
    }

    /// The training set.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.header.summary
    }

    /// The preprocessing of columns.
    #[must_use]
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.header.preprocessing
    }

    /// The names of the encoded features that are used.
    #[must_use]
    pub fn encoded_names(&self) -> Vec<String> {
        let all = self.header.preprocessing.encoded_names();
        match &self.header.slots {
            Some(slots) => slots.iter().map(|&slot| all[slot].clone()).collect(),
            None => all,
        }
    }

    /// The classes of a classifier; empty for a detector.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match &self.learnt {
            Learnt::Detector { .. } => &[],
            Learnt::Classifier { classes, .. } => classes,
        }
    }

    /// A description for users.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.learnt {
            Learnt::Detector { fitted, calibration_set } => {
                format!("{}; calibrated on {} scores", fitted.as_detector().describe(), calibration_set.len())
            }
            Learnt::Classifier { fitted, .. } => fitted.as_classifier().describe(),
        }
    }

    /// The encoded features of a table that the model uses, and the problems of the values.
    ///
    /// # Errors
    /// If the table lacks a column that was learnt.
    pub fn preprocess(&self, frame: &Frame) -> Result<(Array2<f64>, Cleaning), Unfit> {
        let (rows, cleaning) = self.header.preprocessing.apply(frame)?;
        Ok((take(rows, self.header.slots.as_deref()), cleaning))
    }

    /// Scores or classifies encoded rows.
    #[must_use]
    pub fn judge(&self, rows: ArrayView2<'_, f64>) -> Judgement {
        match &self.learnt {
            Learnt::Detector { fitted, calibration_set } => {
                let scores = fitted.as_detector().score(rows);
                let probabilities = scores.iter().map(|score| calibration_set.probability(*score)).collect();
                Judgement::Scores { scores, probabilities, clusters: fitted.as_detector().clusters(rows) }
            }
            Learnt::Classifier { fitted, .. } => Judgement::Classes(fitted.as_classifier().classify(rows)),
        }
    }

    /// The human-readable part, and the trained detector or classifier.
    pub(crate) fn parts(&self) -> (&impl Serialize, &impl Serialize) {
        (&self.header, &self.learnt)
    }

    fn inconsistency(&self) -> Option<String> {
        let Header { columns_hash, plan, preprocessing, slots, .. } = &self.header;
        if *columns_hash != self::columns_hash(preprocessing) {
            return Some("the hash of its columns is wrong".to_owned());
        }
        if self.learnt.task() != plan.task {
            return Some(format!("it is not a {}, as its plan states", plan.task.name()));
        }
        let all = preprocessing.width();
        if let Some(slots) = slots
            && (slots.is_empty() || !slots.is_sorted_by(|a, b| a < b) || slots.iter().any(|slot| *slot >= all))
        {
            return Some(format!("expected distinct 'slots' in ascending order, below {all}"));
        }
        let width = slots.as_ref().map_or(all, Vec::len);
        match &self.learnt {
            Learnt::Detector { fitted, .. } => fitted.as_detector().inconsistency(width),
            Learnt::Classifier { classes, .. } if classes.len() < 2 || !classes.is_sorted_by(|a, b| a < b) => {
                Some("expected at least two distinct 'classes' in ascending order".to_owned())
            }
            Learnt::Classifier { classes, fitted } => fitted.as_classifier().inconsistency(width, classes.len()),
        }
    }
}

pub(super) fn take(rows: Array2<f64>, slots: Option<&[usize]>) -> Array2<f64> {
    match slots {
        Some(slots) => rows.select(Axis(1), slots),
        None => rows,
    }
}

/// A hash of the columns and how they are encoded.
pub(super) fn columns_hash(preprocessing: &Preprocessing) -> String {
    hash(preprocessing.columns().flat_map(|(name, learnt)| [name, learnt.unwrap_or("nothing")]))
}
