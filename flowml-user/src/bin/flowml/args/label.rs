//! The arguments of `flowml label`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use flowml_user::process::amounts::duration;

use super::sandbox::SandboxArguments;
use super::values::{TOLERANCE, table};

pub(super) const LABEL_HELP: &str = "\
Adds a column of labels to flow records: CSV, JSON lines or Parquet of flowml, or any table with the columns src_ip, \
src_port, dst_ip, dst_port, protocol and bidirectional_first_seen_ms, such as NFStream's. The label is that of the first rule \
that matches, or that of the flow with the same 5-tuple and the same start in another table.

docs/LABELS.md describes the rules.";

pub(super) const LABEL_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml label flows.csv --rules attacks.toml -o labelled.csv
  flowml label monday tuesday --rules attacks.toml --clean --report report.json -o week.parquet
  flowml label flows.csv --labels truth.csv --labels-column attack -o labelled.csv

",
    exit_codes!()
);

/// The arguments of `flowml label`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("truth").required(true))]
pub(crate) struct Label {
    /// Tables of flows: CSV, JSON lines, Parquet, or a folder that '-o parquet=DIR' wrote
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// File of rules that assign the labels (TOML)
    #[arg(long, value_name = "FILE", group = "truth")]
    pub(crate) rules: Option<PathBuf>,

    /// Table of flows with labels
    #[arg(long, value_name = "TABLE", group = "truth")]
    pub(crate) labels: Option<PathBuf>,

    /// Column of the labels in the table of '--labels'
    #[arg(long, value_name = "NAME", default_value = "label", requires = "labels")]
    pub(crate) labels_column: String,

    /// Maximum difference between the start times of a flow in the two tables, 0ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "labels",
          value_parser = |text: &str| duration(text, TOLERANCE))]
    pub(crate) tolerance: Duration,

    /// Label of flows that nothing matches [default: the key 'default' of the rules, else benign]
    #[arg(long, value_name = "LABEL")]
    pub(crate) default: Option<String>,

    /// Name of the new column
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub(crate) column: String,

    /// Remove incomplete rows, rows with invalid numbers (such as NaN), and duplicates; print the number of removed
    /// rows
    #[arg(long)]
    pub(crate) clean: bool,

    /// Write the counts of rows to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// File to write the table to: a .csv or .parquet file, or '-' for CSV on standard output
    #[arg(short, long, value_name = "FILE", value_parser = table)]
    pub(crate) output: PathBuf,
}
