//! The arguments of `flowml report`.

use std::path::PathBuf;

use clap::Args;

use super::alarms::AlarmArguments;
use super::sandbox::SandboxArguments;

pub(super) const REPORT_HELP: &str = "\
Writes one HTML file about flows: traffic over time, hosts and services, incidents and anomalies with their reasons, clusters \
in two dimensions, and the features that distinguish them. Labelled rows add ROC and precision-recall curves and a confusion \
matrix. The report runs no script and loads nothing from the network.

Records keep the scores that 'flowml run', 'read' or 'score' gave them. A folder of '-o parquet=DIR' and JSON lines contain \
hosts and incidents; CSV and single Parquet files contain flows only. Captures are metered first, and a model trained on all \
of them scores each row; '--model' names another model.";

pub(super) const REPORT_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml report monday.pcap -o monday.html
  flowml run -i eth0 --duration 1h -o parquet=hour && flowml report hour -o hour.html
  flowml report scored.csv --label-column label --benign benign -o judged.html

",
    exit_codes!()
);

/// The arguments of `flowml report`.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("truth"))]
pub(crate) struct Report {
    /// Captures; flow records: CSV, JSON lines, Parquet, or a folder that '-o parquet=DIR' wrote
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// File to write the report to, '-' is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Score captures with the model in FILE, or with a shipped model: builtin, or builtin-ingress for captures of incoming
    /// traffic only [default: a model of the captures themselves]
    #[arg(long, value_name = "FILE", conflicts_with = "learn")]
    pub(crate) model: Option<PathBuf>,

    /// Train a model while the captures are read: nothing is scored before a warm-up of 30 intervals and 300 rows
    #[arg(long)]
    pub(crate) learn: bool,

    /// The alarm level, for captures.
    #[command(flatten)]
    pub(crate) alarms: AlarmArguments,

    /// Column with the labels [default: label, if it exists]
    #[arg(long, value_name = "NAME", group = "truth")]
    pub(crate) label_column: Option<String>,

    /// File of labels: rules as for 'flowml label' (.toml), a table of flows with the column 'label', or a list of
    /// inputs (CSV) with the columns 'file' and 'label'; rows that it does not label are benign
    #[arg(long, value_name = "FILE", group = "truth")]
    pub(crate) labels: Option<PathBuf>,

    /// Label of normal rows [default: benign]
    #[arg(long, value_name = "LABEL")]
    pub(crate) benign: Option<String>,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Only warnings and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
