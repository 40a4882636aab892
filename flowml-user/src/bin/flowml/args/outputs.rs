//! The outputs of records.

use clap::Args;
use flowml_user::export::Target;

/// The outputs of records.
#[derive(Args, Clone, Debug)]
pub(crate) struct OutputArguments {
    /// Write records, may be repeated: jsonl=PATH, csv=PATH, parquet=DIR or ipfix=HOST:PORT (ipfix=tcp://HOST:PORT by TCP);
    /// PATH '-' is standard output. After PATH or DIR, ',rotate=1h' or ',rotate=100MB' starts a new file after that time or size
    /// (without it, a live run starts a new Parquet file every minute). ',mode=0640' also permits the group to read the files
    #[arg(short = 'o', long = "output", value_name = "SINK")]
    pub(crate) targets: Vec<Target>,
}

impl OutputArguments {
    /// Whether an output is standard output.
    #[must_use]
    pub(super) fn use_standard_output(&self) -> bool {
        self.targets.iter().any(Target::is_standard_output)
    }

    /// An output that was given twice.
    pub(super) fn contradiction(&self) -> Option<String> {
        let targets = &self.targets;
        let mut outputs = targets.iter().enumerate();
        outputs.find(|(at, one)| targets[..*at].iter().any(|earlier| earlier.is_same(one))).map(|(_, twice)| {
            format!("{twice} was given to two outputs ('--output'): expected a different one for each")
        })
    }
}
