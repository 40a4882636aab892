//! Options for reading a text file, and notices about detected properties.

use std::fmt;

use super::Encoding;

/// Whether the first row of a CSV file names its columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderRow {
    /// The first row names the columns.
    #[default]
    Present,
    /// The first row is a row like all others. Columns are named by their numbers, from 1.
    Absent,
}

/// Options for reading a text file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Whether a CSV file has a header.
    pub header: HeaderRow,
    /// The encoding of CSV files; `None` to detect the encoding.
    pub encoding: Option<Encoding>,
}

/// A detected property of a file that determines how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The file is not UTF-8 and has no byte order mark.
    Encoding {
        /// The encoding that is used.
        taken_for: Encoding,
        /// Offset of the first byte that is not UTF-8.
        at: u64,
    },
    /// The delimiter is not a comma, or numbers have decimal commas.
    Delimiter {
        /// The delimiter.
        delimiter: char,
        /// Whether numbers have decimal commas.
        decimal_comma: bool,
    },
    /// Number of rows that repeat the header, as in joined files.
    RepeatedHeaders(u64),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding { taken_for, at } => {
                let name = taken_for.name();
                write!(f, "byte {at} is not UTF-8: the file is read as {name}; '--encoding' sets another encoding")
            }
            Self::Delimiter { delimiter, decimal_comma } => {
                let numbers = if *decimal_comma { ", and numbers with decimal commas" } else { "" };
                write!(f, "read with the delimiter {delimiter:?}{numbers}")
            }
            Self::RepeatedHeaders(rows) => write!(f, "{rows} rows repeat the header and are left out"),
        }
    }
}
