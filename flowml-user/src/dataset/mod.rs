//! Tables of flows in files: read into columns, labelled, cleaned and written again.
//!
//! A table comes as Arrow record batches of bounded size, whatever the file's format, so that a table of any length fits
//! and other tools' columns pass through as they are.

mod batch;
pub mod clean;
pub mod columns;
mod csv;
mod encoding;
pub mod files;
pub mod join;
mod jsonl;
pub mod keys;
pub mod learnt;
mod limits;
mod lines;
pub mod names;
mod pages;
mod position;
mod read;
pub mod rules;
mod shape;
#[cfg(test)]
mod tests;
mod thrift;
pub mod truth;
mod write;
mod zeek;

use std::path::PathBuf;

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

pub use encoding::Encoding;
pub use position::Position;
pub use read::{HeaderRow, Notice, Reading, RowType, TableReader};
pub use shape::Shape;
pub use write::{TableFormat, TableWriter};

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
    #[error("{path}: expected a column '{column}', found {found}")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// Its name.
        column: String,
        /// The columns that there are, as far as that is told.
        found: String,
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

impl DatasetError {
    /// The table has no such column.
    #[must_use]
    pub fn no_column(table: &TableReader, column: &str) -> Self {
        let names = table.schema().fields().iter().map(|field| field.name().as_str());
        let (path, found) = (table.path().to_owned(), names::listed(names, column));
        Self::NoColumn { path, column: column.to_owned(), found }
    }
}
