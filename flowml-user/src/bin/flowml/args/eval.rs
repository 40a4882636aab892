//! The arguments of `flowml eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use flowml_user::learning::batch::Task;
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::evaluation::Division;

use super::learning::{LearningArguments, classifier, detector};
use super::sandbox::SandboxArguments;
use super::tables::TableArguments;
use super::values::json_path;

pub(super) const EVAL_HELP: &str = "\
Measures detectors and classifiers on labelled rows. '--model' evaluates a saved model. '--train' trains new ones on other \
inputs. Without both, the inputs are divided by cross-validation. '--train' with '--folds' or '--division' adds its rows to \
the training set of each fold. With '--all-rows' and without '--train', detectors are trained on all rows and score the same \
rows.

A model of traffic, or 'builtin', scores captures as a run does. With a model, rows without labels count as benign.";

pub(super) const EVAL_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml eval tuesday.csv --train monday.csv --label-column label --benign benign --detector kmeans,isolation-forest
  flowml eval tuesday.csv --model office.json --label-column label --benign benign -o json=report.json
  flowml eval week.parquet --label-column label --benign benign --classifier random-forest --folds 5 --division time
  flowml eval attack.pcap --train monday.pcap --labels attacks.toml --benign benign --report report.html
  flowml eval tuesday.pcap --model builtin --alpha 0.001 --unit hosts

",
    exit_codes!()
);

/// The arguments of `flowml eval`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Eval {
    /// Captures and tables to evaluate on
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Captures and tables to train on. In a cross-validation they are added to the training set of each fold
    #[arg(long, value_name = "INPUT", num_args = 1.., conflicts_with = "model")]
    pub(crate) train: Vec<PathBuf>,

    /// Evaluate this model
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detector", "classifier"])]
    pub(crate) model: Option<PathBuf>,

    /// Detectors, separated by commas [default: kmeans, if no classifier is named]
    #[arg(long, value_name = "DETECTOR", value_parser = detector(), value_delimiter = ',')]
    pub(crate) detector: Vec<DetectorKind>,

    /// Classifiers, separated by commas
    #[arg(long, value_name = "CLASSIFIER", value_parser = classifier(), value_delimiter = ',')]
    pub(crate) classifier: Vec<ClassifierKind>,

    /// Folds of the cross-validation, 2 to 20 [default: 5]
    #[arg(long, value_name = "N", conflicts_with = "model", value_parser = clap::value_parser!(u8).range(2..=20))]
    pub(crate) folds: Option<u8>,

    /// Division of the rows into folds [default: stratified]
    #[arg(long, value_name = "DIVISION", value_enum, conflicts_with = "model")]
    pub(crate) division: Option<DivisionName>,

    /// The roles of columns: label, ignored.
    #[command(flatten)]
    pub(crate) table: TableArguments,

    /// The parameters of training.
    #[command(flatten)]
    pub(crate) learning: LearningArguments,

    /// Write all measures and curves as JSON: json=PATH; PATH '-' is standard output
    #[arg(short, long, value_name = "json=PATH", value_parser = json_path)]
    pub(crate) output: Option<PathBuf>,

    /// Write an HTML report with charts to FILE, one file that loads nothing from the network
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Only warnings and errors: no table
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl Eval {
    /// Whether the inputs are divided into folds. Each fold is scored by a model that is trained on the others.
    #[must_use]
    pub(crate) const fn is_divided(&self) -> bool {
        self.train.is_empty() || self.folds.is_some() || self.division.is_some()
    }

    /// The detectors and classifiers to train.
    #[must_use]
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let detectors = self.detector.iter().map(|kind| Task::Detect(*kind));
        let mut tasks: Vec<Task> = detectors.chain(self.classifier.iter().map(|kind| Task::Classify(*kind))).collect();
        if tasks.is_empty() {
            tasks.push(Task::Detect(DetectorKind::Kmeans));
        }
        tasks
    }

    /// Checks that clap cannot make.
    pub(super) fn contradiction(&self) -> Option<String> {
        let needed = "expected '--label-column' with the column of the labels, or '--labels' with a file of them";
        let is_labelled = self.table.label_column.is_some() || self.table.labels.is_some();
        if !is_labelled && self.model.is_none() {
            return Some(format!("'flowml eval' needs labels: {needed}"));
        }
        let detects = self.model.is_none() && self.tasks().iter().any(|task| matches!(task, Task::Detect(_)));
        (detects && self.learning.benign.is_none()).then(|| {
            "detectors are evaluated on benign rows: expected '--benign' with the label of these rows".to_owned()
        })
    }
}

/// The division of rows into folds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DivisionName {
    /// Random; every label has the same share in each fold
    #[default]
    Stratified,
    /// In the order of the rows: a model trained on the earlier rows scores each fold
    Time,
    /// By input: a model trained on the other inputs scores the rows of an input
    Input,
}

impl From<DivisionName> for Division {
    fn from(name: DivisionName) -> Self {
        match name {
            DivisionName::Stratified => Self::Stratified,
            DivisionName::Time => Self::Time,
            DivisionName::Input => Self::Input,
        }
    }
}
