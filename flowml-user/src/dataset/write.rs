//! Writes a table as CSV or Parquet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, Int64Array, ListArray, RecordBatch, UInt64Array};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;

use super::DatasetError;
use super::columns::{numbers, texts};
use super::csv::DELIMITERS;
use crate::export::cells::{Cell, marked, parquet_properties, write_cell, write_fields, write_text};
use crate::process::private;
use crate::record::Value;

/// The format of a written table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// Comma-separated values under a header.
    Csv,
    /// One Parquet file.
    Parquet,
}

impl TableFormat {
    /// The format by the extension of the file name; `-` is CSV to standard output.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        if path.as_os_str() == "-" {
            return Some(Self::Csv);
        }
        match path.extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Writes a name in the header. It is quoted if it contains a character that could be taken for the delimiter.
fn write_name(line: &mut Vec<u8>, name: &str) {
    let is_quoted = name.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if !is_quoted && name.bytes().any(|byte| DELIMITERS.contains(&byte)) {
        line.extend([b"\"", marked(name).as_bytes(), b"\""].concat());
    } else {
        write_text(line, name);
    }
}

/// A table that is being written.
pub struct TableWriter {
    path: PathBuf,
    stream: Stream,
}

enum Stream {
    Csv(BufWriter<Box<dyn Write>>),
    Parquet(Box<ArrowWriter<File>>),
}

impl TableWriter {
    /// Opens the file and truncates it; `-` is standard output.
    ///
    /// # Errors
    /// If the file cannot be written, or a column's type cannot be written as CSV.
    pub fn open(path: &Path, format: TableFormat, schema: &SchemaRef) -> Result<Self, DatasetError> {
        let failed = |source| DatasetError::Write { path: path.to_owned(), source };
        let stream = match format {
            TableFormat::Csv => {
                for field in schema.fields() {
                    if !has_csv(field.data_type()) {
                        return Err(DatasetError::Type {
                            column: field.name().clone(),
                            found: field.data_type().to_string(),
                            expected: "text, numbers, flags or lists of numbers for CSV (Parquet takes all types)",
                        });
                    }
                }
                let out: Box<dyn Write> = match path.to_str() {
                    Some("-") => Box::new(io::stdout()),
                    _ => Box::new(private::create(path, None).map_err(failed)?),
                };
                let mut out = BufWriter::new(out);
                let mut line = Vec::new();
                write_fields(&mut line, schema.fields().iter(), |line, field| write_name(line, field.name()));
                out.write_all(&line).map_err(failed)?;
                Stream::Csv(out)
            }
            TableFormat::Parquet => {
                let file = private::create(path, None).map_err(failed)?;
                let properties = parquet_properties("labelled");
                Stream::Parquet(Box::new(ArrowWriter::try_new(file, schema.clone(), Some(properties))?))
            }
        };
        Ok(Self { path: path.to_owned(), stream })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// If the rows cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), DatasetError> {
        match &mut self.stream {
            Stream::Parquet(writer) => writer.write(batch)?,
            Stream::Csv(out) => {
                let mut line = Vec::new();
                let columns: Vec<ColumnReader<'_>> =
                    batch.columns().iter().map(|array| ColumnReader::of(array.as_ref())).collect();
                for row in 0..batch.num_rows() {
                    let cells = columns.iter().map(|column| column.cell(row));
                    write_fields(&mut line, cells, |line, cell| write_cell(line, &cell));
                }
                out.write_all(&line).map_err(|source| DatasetError::Write { path: self.path.clone(), source })?;
            }
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If the rest cannot be written.
    pub fn finish(self) -> Result<(), DatasetError> {
        match self.stream {
            Stream::Parquet(writer) => drop(writer.close()?),
            Stream::Csv(mut out) => {
                out.flush().map_err(|source| DatasetError::Write { path: self.path.clone(), source })?;
            }
        }
        Ok(())
    }
}

fn has_csv(of: &DataType) -> bool {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Boolean => true,
        DataType::List(item) => item.data_type().is_numeric(),
        other => other.is_integer() || matches!(other, DataType::Float32 | DataType::Float64),
    }
}

/// A column whose type passed [`has_csv`], to be read row by row.
enum ColumnReader<'a> {
    Texts(Vec<Option<&'a str>>),
    Flags(&'a BooleanArray),
    Integers(&'a Int64Array),
    Naturals(&'a UInt64Array),
    Numbers(Vec<f64>, &'a dyn Array),
    Lists(&'a ListArray),
}

impl<'a> ColumnReader<'a> {
    fn of(array: &'a dyn Array) -> Self {
        match array.data_type() {
            DataType::Boolean => Self::Flags(array.as_boolean()),
            DataType::Int64 => Self::Integers(array.as_primitive()),
            DataType::UInt64 => Self::Naturals(array.as_primitive()),
            DataType::List(_) => Self::Lists(array.as_list()),
            _ => match numbers(array) {
                Some(numbers) => Self::Numbers(numbers, array),
                None => Self::Texts(texts(array).unwrap_or_default()),
            },
        }
    }

    fn cell(&self, row: usize) -> Cell {
        let text = |text: &dyn ToString| Cell::Value(Value::Text(text.to_string()));
        match self {
            Self::Texts(texts) => texts[row].map_or(Cell::ABSENT, |value| text(&value)),
            Self::Flags(flags) if flags.is_valid(row) => Cell::Value(Value::Flag(flags.value(row))),
            Self::Integers(numbers) if numbers.is_valid(row) => match numbers.value(row) {
                number @ 0.. => Cell::Value(Value::Number(number.unsigned_abs())),
                number => text(&number),
            },
            Self::Naturals(numbers) if numbers.is_valid(row) => Cell::Value(Value::Number(numbers.value(row))),
            Self::Numbers(numbers, array) if array.is_valid(row) => match numbers[row] {
                number if number.is_finite() => Cell::Real(number),
                number => text(&number),
            },
            Self::Lists(lists) if lists.is_valid(row) => {
                Cell::List(numbers(lists.value(row).as_ref()).unwrap_or_default())
            }
            _ => Cell::ABSENT,
        }
    }
}
