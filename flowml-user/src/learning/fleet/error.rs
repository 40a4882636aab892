//! Errors of merging statistics.

use std::io;

use crate::learning::model_file::ModelError;

/// Errors of merging statistics.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A line is no row of statistics of this model.
    #[error("{place}:{line}: {reason}")]
    Row {
        /// The file or stream.
        place: String,
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The rows cannot be read.
    #[error("cannot read {place}")]
    Read {
        /// The file or stream.
        place: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The rows are too few for a model.
    #[error("the statistics are of too few rows: {found}; expected at least {least} of one of them")]
    TooFew {
        /// The numbers of rows by learner.
        found: String,
        /// The least number.
        least: u64,
    },
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
}
