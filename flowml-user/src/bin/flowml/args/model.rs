//! The arguments of `flowml model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
