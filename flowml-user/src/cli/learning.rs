//! The arguments of learning from tables and captures: `train`, `score`, `eval` and `model`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use clap::{Args, Subcommand, ValueEnum};

use super::{SandboxArguments, probability, table};
use crate::capture::selection::Selector;
use crate::dataset::learnt::Roles;
use crate::dataset::truth;
use crate::dataset::{Encoding, HeaderRow, Reading, RowType};
use crate::model::classify::ClassifierKind;
use crate::model::detect::DetectorKind;
use crate::model::folds::Division;
use crate::model::prepare::Scaling;
use crate::model::select::Selection;
use crate::model::trained::{Plan, Task};

pub(super) const TRAIN_HELP: &str = "\
From captures or interfaces, without '--unit', '--detector', '--classifier' and labels, it learns a model of ordinary \
traffic: of flows and of hosts, by which 'flowml run' and 'flowml read' judge. Each capture is metered by itself.

Otherwise it learns from a table: CSV, JSON lines or Parquet of flowml, a log of Zeek, any other CSV or Parquet table, or the flows or hosts \
of captures. Without a classifier it learns what ordinary rows look like; with labels and '--benign' from the benign rows alone.

Of flowml's own tables (and NFStream's) the columns are learnt as 'flowml features' says. Of others, numbers that cannot be \
negative and reach beyond 1 are learnt as their log1p, texts as categories; addresses, Unix times and texts that name rows \
are left out, and so is the index of a data frame: whole numbers in a column without a name. CSV may be separated by commas, semicolons, tabs or \
bars, with decimal points or commas. docs/LEARNING.md describes it all.";

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
Writes the rows of tables with what a model of 'flowml train' says of them: the columns score, probability and anomaly, or \
class. Columns of these names that are there already are replaced. Captures need no model: without one, a model of all that is in \
them is made first.";

pub(super) const SCORE_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml score today.csv --model office.json -o scored.csv
  flowml score today.parquet --model office.json -o - | head
  flowml score today.pcap -o flows.csv    by what is normal in the capture itself

",
    exit_codes!()
);

pub(super) const EVAL_HELP: &str = "\
Says how good detectors and classifiers are on labelled rows: those of a model, or those that learn from '--train' tables. \
A model of traffic, or 'builtin', judges captures as a run would; by a model, rows without labels are benign. With neither, \
they learn from the inputs themselves by cross-validation, and with '--train' and '--folds' or '--division' from both; \
with '--all-rows' and without '--train' detectors learn from all rows and judge the same.";

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
pub enum Unit {
    /// A flow, with what its two hosts did around its end
    #[default]
    Flows,
    /// What a host did within two seconds
    Hosts,
}

impl Unit {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Hosts => "hosts",
        }
    }

    /// As tables have it.
    #[must_use]
    pub const fn row_type(self) -> RowType {
        match self {
            Self::Flows => RowType::Flow,
            Self::Hosts => RowType::Host,
        }
    }
}

/// How inputs become tables.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct InputArguments {
    /// The first row of CSV files is a row as all others; columns are called 1, 2, …
    #[arg(long)]
    pub no_header: bool,

    /// Encoding of CSV files: utf-8, utf-16le, utf-16be, windows-1252 or latin1 [default: UTF-8, UTF-16 where a file begins
    /// so, and windows-1252 for what is neither]
    #[arg(long, value_name = "ENCODING", value_parser = encoding)]
    pub encoding: Option<Encoding>,

    /// What is taken of captures, and of folders that '-o parquet=DIR' wrote [default: flows]
    #[arg(long, value_name = "UNIT", value_enum)]
    pub unit: Option<Unit>,
}

impl InputArguments {
    /// How CSV files are read.
    #[must_use]
    pub const fn reading(&self) -> Reading {
        let header = if self.no_header { HeaderRow::Absent } else { HeaderRow::Present };
        Reading { header, encoding: self.encoding }
    }
}

/// Inputs, and which columns of them are what.
#[derive(Args, Clone, Debug, Default)]
#[command(group = clap::ArgGroup::new("labelled"))]
pub struct TableArguments {
    /// How inputs become tables.
    #[command(flatten)]
    pub input: InputArguments,

    /// Column with the labels
    #[arg(long, value_name = "NAME", group = "labelled")]
    pub label_column: Option<String>,

    /// Labels from elsewhere: rules as for 'flowml label' (.toml), a table of flows with a column label, or a list of inputs
    /// with the columns file and label; what they do not name is benign
    #[arg(long, value_name = "FILE", group = "labelled")]
    pub labels: Option<PathBuf>,

    /// Columns that are not learnt
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub ignore: Vec<String>,
}

impl TableArguments {
    /// Which columns are what.
    #[must_use]
    pub fn roles(&self) -> Roles {
        let added = self.labels.as_ref().map(|_| truth::LABEL.to_owned());
        Roles { label: self.label_column.clone().or(added), ignored: self.ignore.clone() }
    }
}

/// The alarm level of models of tables, unless somebody says otherwise.
const ALPHA: f64 = 0.01;

/// How is learnt, whatever it is.
#[derive(Args, Clone, Debug)]
pub struct LearningArguments {
    /// Label of ordinary rows: detectors learn from those alone, classifiers tell them from all others
    #[arg(long, value_name = "LABEL", requires = "labelled")]
    pub benign: Option<String>,

    /// Detectors learn from all rows, whatever their label
    #[arg(long)]
    pub all_rows: bool,

    /// Number of clusters or components, 1 to 1000 [default: of 16 to 24 clusters by silhouette, 8 components]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub k: Option<u16>,

    /// How numbers are made comparable [default: robust for detectors, standard for classifiers]
    #[arg(long, value_name = "SCALING", value_enum)]
    pub scale: Option<ScalingName>,

    /// Look at some of the prepared columns: variance:V, chi2:K, mutual-information:K, rfe:K, l1:K or tree:K
    #[arg(long, value_name = "METHOD:K", value_parser = Selection::from_str)]
    pub select: Option<Selection>,

    /// Part of the ordinary rows that may be called anomalies, between 0 and 1 [default: 0.01; of a model of traffic 0.0001]
    #[arg(long, value_name = "P", value_parser = probability)]
    pub alpha: Option<f64>,

    /// Seed of all that is chosen at random, for the same model from the same rows [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub seed: u64,
}

/// How numbers are made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScalingName {
    /// Mean 0, standard deviation 1
    Standard,
    /// From 0 to 1
    MinMax,
    /// By median and quantiles
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
    pub fn plan(&self, task: Task) -> Plan {
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
    let names =
        DetectorKind::ALL.iter().map(|kind| clap::builder::PossibleValue::new(kind.name()).help(kind.meaning()));
    PossibleValuesParser::new(names.collect::<Vec<_>>()).map(|name| {
        *DetectorKind::ALL.iter().find(|kind| kind.name() == name).expect("the parser lets these names pass alone")
    })
}

/// By the names of the table of classifiers.
fn classifier() -> impl TypedValueParser<Value = ClassifierKind> {
    let names =
        ClassifierKind::ALL.iter().map(|kind| clap::builder::PossibleValue::new(kind.name()).help(kind.meaning()));
    PossibleValuesParser::new(names.collect::<Vec<_>>()).map(|name| {
        *ClassifierKind::ALL.iter().find(|kind| kind.name() == name).expect("the parser lets these names pass alone")
    })
}

/// The arguments of `flowml train`.
#[derive(Args, Clone, Debug)]
pub struct Train {
    /// Captures; tables: CSV, JSON lines, Parquet, Zeek logs, or a folder that '-o parquet=DIR' wrote
    #[arg(required_unless_present = "interfaces", value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Learn from the live traffic of this interface, may be repeated: a name, a pattern as in 'veth*', or 'any'
    #[arg(short, long = "interface", value_name = "IFACE", requires = "duration",
          conflicts_with_all = ["inputs", "unit", "detector", "classifier", "labelled"])]
    pub interfaces: Vec<Selector>,

    /// For so long, 10ms to 365d
    #[arg(long, value_name = "DURATION", requires = "interfaces",
          value_parser = |text: &str| super::duration(text, super::RUN_TIME))]
    pub duration: Option<Duration>,

    /// Where the model goes
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,

    /// What tells unusual rows [default: kmeans]
    #[arg(long, value_name = "DETECTOR", value_parser = detector(), conflicts_with = "classifier")]
    pub detector: Option<DetectorKind>,

    /// Learn to tell labels apart, and not what is unusual
    #[arg(long, value_name = "CLASSIFIER", value_parser = classifier(), requires = "labelled")]
    pub classifier: Option<ClassifierKind>,

    /// Which columns are what.
    #[command(flatten)]
    pub table: TableArguments,

    /// How is learnt.
    #[command(flatten)]
    pub learning: LearningArguments,

    /// Whether the command is confined.
    #[command(flatten)]
    pub sandbox: SandboxArguments,

    /// Only warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
}

impl Train {
    /// Whether rows have labels.
    #[must_use]
    pub const fn is_labelled(&self) -> bool {
        self.table.label_column.is_some() || self.table.labels.is_some()
    }

    /// What is to be learnt, and how.
    #[must_use]
    pub fn plan(&self) -> Plan {
        self.learning.plan(match self.classifier {
            Some(kind) => Task::Classify(kind),
            None => Task::Detect(self.detector.unwrap_or(DetectorKind::Kmeans)),
        })
    }
}

/// The arguments of `flowml score`.
#[derive(Args, Clone, Debug)]
pub struct Score {
    /// Captures, or tables with the columns that the model was trained on
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// The model [default: captures are judged by what is normal in them]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// How inputs become tables.
    #[command(flatten)]
    pub input: InputArguments,

    /// Where the table goes: a file called .csv or .parquet, or '-' for CSV on standard output
    #[arg(short, long, value_name = "FILE", value_parser = table, default_value = "-")]
    pub output: PathBuf,

    /// Whether the command is confined.
    #[command(flatten)]
    pub sandbox: SandboxArguments,

    /// Only warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// The arguments of `flowml eval`.
#[derive(Args, Clone, Debug)]
pub struct Eval {
    /// Captures and tables that are judged
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Captures and tables to learn from; beside the other folds, where the inputs are to be divided
    #[arg(long, value_name = "INPUT", num_args = 1.., conflicts_with = "model")]
    pub train: Vec<PathBuf>,

    /// Judge by this model
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detector", "classifier"])]
    pub model: Option<PathBuf>,

    /// Detectors, several with commas [default: kmeans, where no classifier is named]
    #[arg(long, value_name = "DETECTOR", value_parser = detector(), value_delimiter = ',')]
    pub detector: Vec<DetectorKind>,

    /// Classifiers, several with commas
    #[arg(long, value_name = "CLASSIFIER", value_parser = classifier(), value_delimiter = ',')]
    pub classifier: Vec<ClassifierKind>,

    /// Folds of the cross-validation, 2 to 20 [default: 5]
    #[arg(long, value_name = "N", conflicts_with = "model", value_parser = clap::value_parser!(u8).range(2..=20))]
    pub folds: Option<u8>,

    /// How rows are divided into folds [default: stratified]
    #[arg(long, value_name = "DIVISION", value_enum, conflicts_with = "model")]
    pub division: Option<DivisionName>,

    /// Which columns are what.
    #[command(flatten)]
    pub table: TableArguments,

    /// How is learnt.
    #[command(flatten)]
    pub learning: LearningArguments,

    /// Write all figures and curves: json=PATH, '-' is standard output
    #[arg(short, long, value_name = "json=PATH", value_parser = json_path)]
    pub output: Option<PathBuf>,

    /// Write a page with pictures to FILE: HTML in one file, which asks for nothing from elsewhere
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Whether the command is confined.
    #[command(flatten)]
    pub sandbox: SandboxArguments,

    /// Only warnings and errors: no table
    #[arg(short, long)]
    pub quiet: bool,
}

impl Eval {
    /// Whether the inputs are divided into folds, each of which is judged by what the others teach.
    #[must_use]
    pub const fn is_divided(&self) -> bool {
        self.train.is_empty() || self.folds.is_some() || self.division.is_some()
    }

    /// What is to be learnt.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
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
            "detectors are judged by what they say of benign rows: expected '--benign' with their label".to_owned()
        })
    }
}

/// How rows are divided into folds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DivisionName {
    /// At random, each fold with the same share of every label
    #[default]
    Stratified,
    /// By their order: each fold is judged by what was learnt from the rows before it
    Time,
    /// Each input as a whole, so that what is judged comes from other inputs than what was learnt
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
pub struct Model {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ModelCommand,
}

/// What can be done with a model file.
#[derive(Subcommand, Clone, Debug)]
pub enum ModelCommand {
    /// Say what a model was trained on, and how
    Show {
        /// A file that 'flowml train', 'flowml run' or 'flowml read' wrote
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
            let told = read(line).expect_err(line);
            assert!(told.contains(expected) && !told.contains('\n'), "{line}: {told}");
        }
    }
}
