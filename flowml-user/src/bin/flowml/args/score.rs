//! The arguments of `flowml score`.

use std::path::PathBuf;

use clap::Args;

use super::sandbox::SandboxArguments;
use super::tables::InputArguments;
use super::values::table;

pub(super) const SCORE_HELP: &str = "\
Scores the rows of tables with a model of 'flowml train', and writes them with further columns: 'score', 'probability' and \
'anomaly' of a detector, 'class' of a classifier. Existing columns of these names are replaced. Captures need no model: \
without one, a model of all their rows is trained first.";

pub(super) const SCORE_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml score today.csv --model office.json -o scored.csv
  flowml score today.parquet --model office.json -o - | head
  flowml score today.pcap -o flows.csv    with a model of the capture itself

",
    exit_codes!()
);

/// The arguments of `flowml score`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Score {
    /// Captures, or tables with the columns that the model was trained on
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    /// Model to score with [default: a model of the captures themselves]
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,

    /// The options for reading inputs as tables.
    #[command(flatten)]
    pub(crate) input: InputArguments,

    /// File to write the table to: a .csv or .parquet file, or '-' for CSV on standard output
    #[arg(short, long, value_name = "FILE", value_parser = table, default_value = "-")]
    pub(crate) output: PathBuf,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,

    /// Only warnings and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
