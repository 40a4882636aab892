//! Reads, labels, cleans and writes tables of flows.
//!
//! A table is read as Arrow record batches of bounded size, whatever the format of its file. So a table of any length
//! fits into memory, and columns of other tools are passed through unchanged.
//!
//! ```
//! use flowml_user::dataset::TableReader;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flows.csv");
//! std::fs::write(&path, "protocol,bytes\ntcp,1500\nudp,80\n")?;
//! let table = TableReader::open(&path)?;
//! assert_eq!(table.schema().fields().len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
pub mod clean;
pub mod columns;
mod csv;
mod encoding;
pub mod files;
pub mod join;
mod jsonl;
pub mod keys;
mod labels;
pub mod learnt;
mod limits;
mod lines;
pub mod names;
mod options;
mod pages;
mod position;
mod read;
mod row_type;
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
pub use options::{HeaderRow, Notice, Reading};
pub use position::Position;
pub use read::TableReader;
pub use row_type::RowType;
pub use shape::Shape;
pub use write::{TableFormat, TableWriter};

/// An error of reading or writing a table.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file has invalid content.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The expected value, and its position.
        message: String,
    },
    /// A required column is missing.
    #[error("{path}: expected a column '{column}', found {found}")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// Name of the missing column.
        column: String,
        /// The columns of the table, the most similar names first.
        found: String,
    },
    /// A column has a type that cannot be used.
    #[error("column '{column}': found {found}, expected {expected}")]
    Type {
        /// Name of the column.
        column: String,
        /// Type of the column.
        found: String,
        /// The types that can be used.
        expected: &'static str,
    },
    /// The columns of a file differ from those of the first file.
    #[error("{path}: expected the columns of the first input ({difference})")]
    Columns {
        /// The file.
        path: PathBuf,
        /// The first difference.
        difference: String,
    },
    /// Columns do not form a table. This cannot happen with a table that was read.
    #[error("the columns do not form a table")]
    Arrow(#[from] ArrowError),
    /// The Parquet file is damaged, or cannot be written.
    #[error("Parquet")]
    Parquet(#[from] ParquetError),
}

impl DatasetError {
    /// The error for a missing column of a table.
    #[must_use]
    pub fn no_column(table: &TableReader, column: &str) -> Self {
        let names = table.schema().fields().iter().map(|field| field.name().as_str());
        let (path, found) = (table.path().to_owned(), names::listed(names, column));
        Self::NoColumn { path, column: column.to_owned(), found }
    }
}
