//! The arguments of learning from tables and captures: `train`, `score`, `eval` and `model`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, Subcommand, ValueEnum};
use flowml_user::capture::selection::Selector;
use flowml_user::dataset::learnt::Roles;
use flowml_user::dataset::truth;
use flowml_user::dataset::{Encoding, HeaderRow, Reading, RowType};
use flowml_user::learning::batch::{Plan, Task};
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::evaluation::Division;
use flowml_user::learning::preprocess::Scaling;
use flowml_user::learning::select::Selection;

use super::{SandboxArguments, named, probability, table};

pub(super) const TRAIN_HELP: &str = "\
From captures or interfaces, without '--unit', '--detector', '--classifier' and labels, it trains a model of traffic: of \
normal flows and hosts, with which 'flowml run' and 'flowml read' score. Each capture is metered separately.

Otherwise it trains a model of a table: CSV, JSON lines or Parquet of flowml, a log of Zeek, any other CSV or Parquet table, \
or the flows or hosts of captures. Without a classifier, the training set is all rows; with labels and '--benign', it is only \
the benign rows.

The columns of flowml's own tables (and NFStream's) are encoded as 'flowml features' prints. In other tables, numbers that \
are never negative and exceed 1 are log-scaled (log1p), and texts are categories. Addresses, Unix times and texts that \
identify rows are left out, and so is the index of a data frame: whole numbers in a column without a name. CSV may be \
separated by commas, semicolons, tabs or bars, with decimal points or commas. docs/LEARNING.md has the details.";

pub(super) const TRAIN_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml train monday.pcap tuesday.pcap --model traffic.json
  flowml train -i eth0 --duration 1h --model traffic.json
  flowml train flows.csv --model office.json
  flowml train week.parquet --label-column label --benign benign --model office.json --detector isolation-forest
  flowml train KDDTrain+.txt --no-header --label-column 42 --ignore 43 --model tree.json --classifier decision-tree

",
    exit_codes!()
);

pub(super) const SCORE_HELP: &str = "\
Scores the rows of tables with a model of 'flowml train', and writes them with the columns score, probability and anomaly, \
or class. Existing columns of these names are replaced. Captures need no model: without one, a model of all their rows is \
trained first.";

pub(super) const SCORE_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml score today.csv --model office.json -o scored.csv
  flowml score today.parquet --model office.json -o - | head
  flowml score today.pcap -o flows.csv    with a model of the capture itself

",
    exit_codes!()
);

pub(super) const EVAL_HELP: &str = "\
Measures detectors and classifiers on labelled rows: those of '--model', or those trained on the inputs of '--train'. A model \
of traffic, or 'builtin', scores captures as a run does. With a model, rows without labels are benign. Without '--train' and \
'--model', the inputs themselves are divided by cross-validation; '--train' with '--folds' or '--division' adds its rows to \
each training set. With '--all-rows' and without '--train', detectors are trained on all rows and score the same rows.";

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

/// What a row is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unit {
    /// A flow, with the activity of its two hosts around its end
    #[default]
    Flows,
    /// A host window: the activity of a host in two seconds
    Hosts,
}

impl Unit {
    /// Its name.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Hosts => "hosts",
        }
    }

    /// As tables have it.
    #[must_use]
    pub(crate) const fn row_type(self) -> RowType {
        match self {
            Self::Flows => RowType::Flow,
            Self::Hosts => RowType::Host,
        }
    }
}

/// How inputs become tables.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct InputArguments {
    /// The first row of CSV files is not a header; columns are named 1, 2, …
    #[arg(long)]
    pub(crate) no_header: bool,

    /// Encoding of CSV files: utf-8, utf-16le, utf-16be, windows-1252 or latin1 [default: UTF-16 if the file starts
    /// like it, else UTF-8, else windows-1252]
    #[arg(long, value_name = "ENCODING", value_parser = encoding)]
    pub(crate) encoding: Option<Encoding>,

    /// Rows to use of captures, and of folders that '-o parquet=DIR' wrote [default: flows]
    #[arg(long, value_name = "UNIT", value_enum)]
    pub(crate) unit: Option<Unit>,
}

impl InputArguments {
    /// How CSV files are read.
    #[must_use]
    pub(crate) const fn reading(&self) -> Reading {
        let header = if self.no_header { HeaderRow::Absent } else { HeaderRow::Present };
        Reading { header, encoding: self.encoding }
    }
}

/// Inputs, and which columns of them are what.
#[derive(Args, Clone, Debug, Default)]
#[command(group = clap::ArgGroup::new("labelled"))]
pub(crate) struct TableArguments {
    /// How inputs become tables.
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// Column with the labels
    #[arg(long, value_name = "NAME", group = "labelled")]
    pub(crate) label_column: Option<String>,

    /// File of labels: rules as for 'flowml label' (.toml), a table of flows with a column label, or a list of inputs with the
    /// columns file and label; rows without a label in it are benign
    #[arg(long, value_name = "FILE", group = "labelled")]
    pub(crate) labels: Option<PathBuf>,

    /// Columns that the model does not use
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) ignore: Vec<String>,
}

impl TableArguments {
    /// Which columns are what.
    #[must_use]
    pub(crate) fn roles(&self) -> Roles {
        let added = self.labels.as_ref().map(|_| truth::LABEL.to_owned());
        Roles { label: self.label_column.clone().or(added), ignored: self.ignore.clone() }
    }
}

/// The alarm level of models of tables, unless the user sets another.
const ALPHA: f64 = 0.01;

/// How is learnt, whatever it is.
#[derive(Args, Clone, Debug)]
pub(crate) struct LearningArguments {
    /// Label of normal rows: detectors are trained on these rows only, classifiers distinguish them from all others
    #[arg(long, value_name = "LABEL", requires = "labelled")]
    pub(crate) benign: Option<String>,

    /// Train detectors on all rows, whatever their label
    #[arg(long)]
    pub(crate) all_rows: bool,

    /// Number of clusters or components, 1 to 1000 [default: 16 to 24 clusters, chosen by silhouette; 8 components]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) k: Option<u16>,

    /// Scaling of numbers [default: robust for detectors, standard for classifiers]
    #[arg(long, value_name = "SCALING", value_enum)]
    pub(crate) scale: Option<ScalingName>,

    /// Use only a selection of the encoded features: variance:V, chi2:K, mutual-information:K, rfe:K, l1:K or tree:K
    #[arg(long, value_name = "METHOD:K", value_parser = Selection::from_str)]
    pub(crate) select: Option<Selection>,

    /// Fraction of normal rows that may be anomalies, between 0 and 1 [default: 0.01; of a model of traffic 0.0001]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub(crate) alpha: Option<f64>,

    /// Seed of all random choices: the same seed and rows give the same model [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) seed: u64,
}

/// How numbers are made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScalingName {
    /// Mean 0, standard deviation 1
    Standard,
    /// Minimum 0, maximum 1
    MinMax,
    /// Median 0, scaled by quantiles
    Robust,
}

impl From<ScalingName> for Scaling {
    fn from(name: ScalingName) -> Self {
        match name {
            ScalingName::Standard => Self::Standard,
            ScalingName::MinMax => Self::MinMax,
            ScalingName::Robust => Self::Robust,
        }
    }
}

impl LearningArguments {
    /// The plan for a task.
    #[must_use]
    pub(crate) fn plan(&self, task: Task) -> Plan {
        Plan {
            task,
            scaling: self.scale.map(Scaling::from),
            selection: self.select,
            k: self.k.map(usize::from),
            seed: self.seed,
            alpha: self.alpha.unwrap_or(ALPHA),
            benign: self.benign.clone(),
            all_rows: self.all_rows,
        }
    }
}

/// By the names of encodings.
fn encoding(text: &str) -> Result<Encoding, String> {
    Encoding::named(text).ok_or_else(|| format!("expected {}", Encoding::ALL.map(Encoding::name).join(", ")))
}

/// By the names of the table of detectors.
fn detector() -> impl TypedValueParser<Value = DetectorKind> {
    named(DetectorKind::ALL, DetectorKind::name, DetectorKind::meaning)
}

/// By the names of the table of classifiers.
fn classifier() -> impl TypedValueParser<Value = ClassifierKind> {
    named(ClassifierKind::ALL, ClassifierKind::name, ClassifierKind::meaning)
}

/// The arguments of `flowml train`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Train {
    /// Captures; tables: CSV, JSON lines, Parquet, Zeek logs, or a folder that '-o parquet=DIR' wrote
    #[arg(required_unless_present = "interfaces", value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Train on the live traffic of this interface, may be repeated: a name, a pattern as in 'veth*', or 'any'
    #[arg(short, long = "interface", value_name = "IFACE", requires = "duration",
          conflicts_with_all = ["inputs", "unit", "detector", "classifier", "labelled"])]
    pub(crate) interfaces: Vec<Selector>,

    /// Duration of the live training, 10ms to 365d
    #[arg(long, value_name = "DURATION", requires = "interfaces",
          value_parser = |text: &str| super::duration(text, super::RUN_TIME))]
    pub(crate) duration: Option<Duration>,

    /// File to write the model to
    #[arg(long, value_name = "FILE")]
    pub(crate) model: PathBuf,

    /// Detector of anomalous rows [default: kmeans]
    #[arg(long, value_name = "DETECTOR", value_parser = detector(), conflicts_with = "classifier")]
    pub(crate) detector: Option<DetectorKind>,

    /// Train a classifier of the labels instead of a detector
    #[arg(long, value_name = "CLASSIFIER", value_parser = classifier(), requires = "labelled")]
    pub(crate) classifier: Option<ClassifierKind>,

    /// Which columns are what.
    #[command(flatten)]
    pub(crate) table: TableArguments,

    /// How is learnt.
    #[command(flatten)]
    pub(crate) learning: LearningArguments,

    /// Whether the command is confined.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Only warnings and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl Train {
    /// Whether rows have labels.
    #[must_use]
    pub(crate) const fn is_labelled(&self) -> bool {
        self.table.label_column.is_some() || self.table.labels.is_some()
    }

    /// What is to be learnt, and how.
    #[must_use]
    pub(crate) fn plan(&self) -> Plan {
        self.learning.plan(match self.classifier {
            Some(kind) => Task::Classify(kind),
            None => Task::Detect(self.detector.unwrap_or(DetectorKind::Kmeans)),
        })
    }
}

/// The arguments of `flowml score`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Score {
    /// Captures, or tables with the columns that the model was trained on
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Model to score with [default: a model of the captures themselves]
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,

    /// How inputs become tables.
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// File to write the table to: a .csv or .parquet file, or '-' for CSV on standard output
    #[arg(short, long, value_name = "FILE", value_parser = table, default_value = "-")]
    pub(crate) output: PathBuf,

    /// Whether the command is confined.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Only warnings and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The arguments of `flowml eval`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Eval {
    /// Captures and tables to evaluate on
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Captures and tables to train on; in addition to the other folds, if the inputs are divided
    #[arg(long, value_name = "INPUT", num_args = 1.., conflicts_with = "model")]
    pub(crate) train: Vec<PathBuf>,

    /// Evaluate this model
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detector", "classifier"])]
    pub(crate) model: Option<PathBuf>,

    /// Detectors, several with commas [default: kmeans, if no classifier is named]
    #[arg(long, value_name = "DETECTOR", value_parser = detector(), value_delimiter = ',')]
    pub(crate) detector: Vec<DetectorKind>,

    /// Classifiers, several with commas
    #[arg(long, value_name = "CLASSIFIER", value_parser = classifier(), value_delimiter = ',')]
    pub(crate) classifier: Vec<ClassifierKind>,

    /// Folds of the cross-validation, 2 to 20 [default: 5]
    #[arg(long, value_name = "N", conflicts_with = "model", value_parser = clap::value_parser!(u8).range(2..=20))]
    pub(crate) folds: Option<u8>,

    /// Division of the rows into folds [default: stratified]
    #[arg(long, value_name = "DIVISION", value_enum, conflicts_with = "model")]
    pub(crate) division: Option<DivisionName>,

    /// Which columns are what.
    #[command(flatten)]
    pub(crate) table: TableArguments,

    /// How is learnt.
    #[command(flatten)]
    pub(crate) learning: LearningArguments,

    /// Write all measures and curves as JSON: json=PATH, '-' is standard output
    #[arg(short, long, value_name = "json=PATH", value_parser = json_path)]
    pub(crate) output: Option<PathBuf>,

    /// Write an HTML report with charts to FILE, one file that loads nothing from the network
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Whether the command is confined.
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

    /// What is to be learnt.
    #[must_use]
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let detectors = self.detector.iter().map(|kind| Task::Detect(*kind));
        let mut tasks: Vec<Task> = detectors.chain(self.classifier.iter().map(|kind| Task::Classify(*kind))).collect();
        if tasks.is_empty() {
            tasks.push(Task::Detect(DetectorKind::Kmeans));
        }
        tasks
    }

    /// What clap cannot see.
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

/// How rows are divided into folds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DivisionName {
    /// Random, each fold with the same ratio of every label
    #[default]
    Stratified,
    /// By the order of rows: each fold is scored by a model of the rows before it
    Time,
    /// Each input as a whole: the rows of an input are scored by a model of other inputs
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

pub(super) fn json_path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("json=").filter(|path| !path.is_empty());
    path.map(PathBuf::from).ok_or_else(|| "expected json=PATH".to_owned())
}

/// The arguments of `flowml model`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Model {
    /// What to do with it.
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

/// What can be done with a model file.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum ModelCommand {
    /// Print what a model was trained on, and how
    Show {
        /// Model file of 'flowml train', 'flowml run' or 'flowml read'
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Arguments, Command};
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        let words = std::iter::once("flowml").chain(line.split_whitespace()).map(OsString::from);
        Arguments::read(words).map(|arguments| arguments.command).map_err(|error| super::super::one_line(&error))
    }

    #[test]
    fn what_is_learnt_is_what_was_asked_for() {
        let plan = |line: &str| match read(line) {
            Ok(Command::Train(train)) => train.plan(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(plan("train a.csv --model m").task, Task::Detect(DetectorKind::Kmeans));
        let line = "train a b --model m --classifier svm --label-column 42 --ignore 43,44 --no-header --select chi2:9";
        let plan = plan(line);
        assert_eq!((plan.task, plan.selection), (Task::Classify(ClassifierKind::Svm), Some(Selection::Chi2(9))));
        let Ok(Command::Eval(eval)) = read("eval a --label-column l --benign b --detector dbscan,kmeans -o json=-")
        else {
            panic!("all of it is good");
        };
        assert_eq!(eval.tasks(), [DetectorKind::Dbscan, DetectorKind::Kmeans].map(Task::Detect));
        assert_eq!(eval.output, Some("-".into()));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let cases = [
            ("train a.csv", "--model"),
            ("train a --model m --labels x --label-column y", "cannot be used with"),
            ("train a --model m --detector best", "isolation-forest"),
            ("train a --model m --classifier svm", "--label-column"),
            ("train a --model m --benign x", "--label-column"),
            ("train a --model m --detector kmeans --classifier svm", "cannot be used with"),
            ("train a --model m --select best:3", "mutual-information:K"),
            ("train a --model m --k 0", "1..=1000"),
            ("eval a", "--label-column"),
            ("eval a --label-column l", "--benign"),
            ("eval a --label-column l --model m --train b", "cannot be used with"),
            ("eval a --label-column l --benign b -o xml=x", "json=PATH"),
            ("score a --model m -o x.txt", ".parquet"),
            ("train a --model m --encoding ebcdic", "windows-1252"),
        ];
        for (line, expected) in cases {
            let message = read(line).expect_err(line);
            assert!(message.contains(expected) && !message.contains('\n'), "{line}: {message}");
        }
    }
}
