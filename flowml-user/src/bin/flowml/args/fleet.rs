//! The arguments of agents of a fleet, for `run` and `read`, and those of `flowml fleet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use flowml_user::engine::FleetModel;
use flowml_user::learning::ModelHash;

use super::sandbox::SandboxArguments;

pub(super) const MERGE_HELP: &str = "\
Makes the next model of a fleet from rows of statistics that agents with '--fleet-statistics' have sent. Centroids are the \
means of all rows, and radii, shares and probabilities follow from the same sums, as if one central pass had seen all rows. \
The scale of a column stays unless its rows vary more than twice as much, or less than half as much.

Rows are JSON lines: files of '-o jsonl=PATH', messages of Kafka or NATS, or sums that ClickHouse has added \
(docs/fleet/model/statistics.sql, JSONEachRow). Rows of other types are left out. A row with 'agent', 'generation' and \
'sequence' counts once, even if it is there twice. A row that is not valid, or is of another model, is an error: nothing is \
written.";

pub(super) const MERGE_EXAMPLES: &str = concat!(
    "\
Examples:
  flowml fleet merge rows.jsonl --parent office.json -o fleet-1.json
  kcat -b broker:9092 -t flowml -C -e -q | flowml fleet merge - --parent fleet-1.json -o fleet-2.json

",
    exit_codes!()
);

/// The arguments of agents of a fleet.
#[derive(Args, Clone, Debug)]
pub(crate) struct FleetArguments {
    /// Write rows of statistics once a minute: sums over the rows of each cluster of the model, from which 'flowml fleet
    /// merge' makes the next model of the fleet. The clusters of the model stay as they are, so that those of all agents
    /// are the same; probabilities still follow the traffic. Only jsonl, kafka, nats and otlp have these rows
    #[arg(long)]
    pub(crate) fleet_statistics: bool,

    /// Model of the fleet: it is tried beside the model in use, and used from then on if its probabilities hold for this
    /// traffic. The file is read at the start and at SIGHUP, and never written
    #[arg(long, value_name = "FILE", requires = "fleet_model_hash")]
    fleet_model: Option<PathBuf>,

    /// SHA-256 hash of the file of '--fleet-model', as 'flowml fleet merge' and 'sha256sum' print it. A file with another
    /// hash is refused
    #[arg(long, value_name = "HASH", requires = "fleet_model")]
    fleet_model_hash: Option<ModelHash>,
}

impl FleetArguments {
    /// The model of the fleet.
    #[must_use]
    pub(crate) fn model(&self) -> Option<FleetModel> {
        let (path, hash) = self.fleet_model.clone().zip(self.fleet_model_hash)?;
        Some(FleetModel { path, hash })
    }
}

/// The arguments of `flowml fleet`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Fleet {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: FleetCommand,
}

/// The subcommands for the model of a fleet.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum FleetCommand {
    /// Make the next model of a fleet from the statistics of its agents
    #[command(long_about = MERGE_HELP, after_help = MERGE_EXAMPLES)]
    Merge(MergeArguments),
}

/// The arguments of `flowml fleet merge`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MergeArguments {
    /// Rows of statistics as JSON lines, '-' is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// The model under which the statistics were gathered: a file of a model of traffic, 'builtin' or 'builtin-ingress'
    #[arg(long, value_name = "MODEL")]
    pub(crate) parent: PathBuf,

    /// File of the next model
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// The sandbox option.
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,
}

impl MergeArguments {
    /// Files that contradict each other.
    pub(super) fn contradiction(&self) -> Option<String> {
        let standard_input = self.inputs.iter().filter(|path| path.as_os_str() == "-").count();
        let twice = (standard_input > 1).then(|| "standard input was given twice: expected '-' once".to_owned());
        let replaced = (self.parent == self.output).then(|| {
            "'--output' is the file of '--parent': expected another file, because agents still run the parent"
                .to_owned()
        });
        twice.or(replaced)
    }
}
