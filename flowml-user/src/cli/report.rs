//! The arguments of `flowml report`.

use std::path::PathBuf;

use clap::Args;

use super::{AlarmArguments, SandboxArguments};

pub(super) const REPORT_HELP: &str = "\
Makes one HTML file of flows: traffic over time, hosts and services, incidents and anomalies with their reasons, clusters in two \
dimensions and what tells them apart; and, where rows have labels, ROC and precision-recall curves and what attacks were taken \
for. The page runs no script and asks for nothing from elsewhere.

Records are shown as 'flowml run', 'read' or 'score' wrote them: a folder of '-o parquet=DIR' and JSON lines with hosts and \
incidents, CSV and single Parquet files with flows alone. Captures are metered first, and each of their rows is judged by a model \
of all that is in them; '--model' names another.";

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
pub struct Report {
    /// Captures; flow records: CSV, JSON lines, Parquet, or a folder that '-o parquet=DIR' wrote
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,

    /// Where the page goes, '-' is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Judge captures by the model in FILE, or by one that ships with flowml: builtin, or builtin-ingress for captures of what
    /// comes in alone [default: what is normal in the captures themselves]
    #[arg(long, value_name = "FILE", conflicts_with = "learn")]
    pub model: Option<PathBuf>,

    /// Judge captures by what is ordinary in them: nothing is judged before a warm-up of 30 s
    #[arg(long)]
    pub learn: bool,

    /// How rare an anomaly is, of captures.
    #[command(flatten)]
    pub alarms: AlarmArguments,

    /// Column with the labels [default: label, where there is one]
    #[arg(long, value_name = "NAME", group = "truth")]
    pub label_column: Option<String>,

    /// Labels from elsewhere: rules as for 'flowml label' (.toml), a table of flows with a column label, or a list of inputs
    /// with the columns file and label; what they do not name is benign
    #[arg(long, value_name = "FILE", group = "truth")]
    pub labels: Option<PathBuf>,

    /// Label of ordinary rows [default: benign]
    #[arg(long, value_name = "LABEL")]
    pub benign: Option<String>,

    /// Whether the command is confined.
    #[command(flatten)]
    pub sandbox: SandboxArguments,

    /// Only warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
}
