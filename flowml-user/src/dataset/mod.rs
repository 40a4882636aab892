//! Tables of flows in files: read into columns, labelled, cleaned and written again.
//!
//! A table comes as Arrow record batches of bounded size, whatever the file's format, so that a table of any length fits
//! and other tools' columns pass through as they are.

pub mod clean;
pub mod columns;
mod csv;
pub mod files;
pub mod join;
mod jsonl;
pub mod keys;
pub mod learnt;
mod position;
mod read;
pub mod rules;
mod shape;
#[cfg(test)]
mod tests;
pub mod truth;
mod write;
mod zeek;

use std::path::PathBuf;

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

pub use position::Position;
pub use read::{HeaderRow, RowType, TableReader};
pub use shape::Shape;
pub use write::{TableFormat, TableWriter};

/// Rows of a batch.
const BATCH: usize = 8192;

/// Why a table cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected, and where.
        message: String,
    },
    /// A column that is needed is not there.
    #[error("{path}: expected a column '{column}'")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// Its name.
        column: String,
    },
    /// A column's type has no use here.
    #[error("column '{column}' is of the type {found}; expected {expected}")]
    Type {
        /// Its name.
        column: String,
        /// Its type.
        found: String,
        /// What can be used.
        expected: &'static str,
    },
    /// A file's columns are not those of the files before.
    #[error("{path}: expected the columns of the first input ({difference})")]
    Columns {
        /// The file.
        path: PathBuf,
        /// The first that differs.
        difference: String,
    },
    /// Columns do not make a table; of a table that was read, they always do.
    #[error("the columns make no table")]
    Arrow(#[from] ArrowError),
    /// The Parquet file is damaged, or cannot be written.
    #[error("Parquet")]
    Parquet(#[from] ParquetError),
}
