//! The arguments of `flowml model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The arguments of `flowml model`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Model {
    /// The subcommand.
    #[command(subcommand)]
    pub(crate) command: ModelCommand,
}

/// The subcommands for model files.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum ModelCommand {
    /// Print what a model was trained on, and how
    Show {
        /// Model file of 'flowml train', 'flowml run' or 'flowml read'
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}
