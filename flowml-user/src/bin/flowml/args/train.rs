//! The arguments of `flowml train`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flowml_user::capture::selection::Selector;
use flowml_user::learning::batch::{Plan, Task};
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use flowml_user::process::amounts::duration;

use super::learning::{LearningArguments, classifier, detector};
use super::sandbox::SandboxArguments;
use super::tables::TableArguments;
use super::values::RUN_TIME;

pub(super) const TRAIN_HELP: &str = "\
Without '--unit', '--detector', '--classifier' and labels, it trains a model of traffic on captures or interfaces. 'flowml \
run' and 'flowml read' score flows and hosts with such a model. Each capture is metered separately.

Otherwise it trains a model of a table: CSV, JSON lines or Parquet of flowml, a log of Zeek, any other CSV or Parquet table, \
or the flows or hosts of captures. A detector is trained on all rows, or with labels and '--benign' only on the benign rows.

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

/// The arguments of `flowml train`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Train {
    /// Captures; tables: CSV, JSON lines, Parquet, Zeek logs, or a folder that '-o parquet=DIR' wrote
    #[arg(required_unless_present = "interfaces", value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Train on the live traffic of this interface: a name, a pattern as in 'veth*', or 'any'; may be repeated
    #[arg(short, long = "interface", value_name = "IFACE", requires = "duration",
          conflicts_with_all = ["inputs", "unit", "detector", "classifier", "labelled"])]
    pub(crate) interfaces: Vec<Selector>,

    /// Duration of the live training, 10ms to 365d
    #[arg(long, value_name = "DURATION", requires = "interfaces",
          value_parser = |text: &str| duration(text, RUN_TIME))]
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

    /// The roles of columns: label, ignored.
    #[command(flatten)]
    pub(crate) table: TableArguments,

    /// The parameters of training.
    #[command(flatten)]
    pub(crate) learning: LearningArguments,

    /// The sandbox option.
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

    /// The detector or classifier to train, and its parameters.
    #[must_use]
    pub(crate) fn plan(&self) -> Plan {
        self.learning.plan(match self.classifier {
            Some(kind) => Task::Classify(kind),
            None => Task::Detect(self.detector.unwrap_or(DetectorKind::Kmeans)),
        })
    }
}
