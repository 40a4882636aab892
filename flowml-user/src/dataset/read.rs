//! Reads a table: CSV, flowml's JSON lines, Parquet or a Zeek log, detected by its first bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::de::IgnoredAny;

use super::batch::Batches;
use super::limits::check_columns;
use super::options::{HeaderRow, Notice, Reading};
use super::row_type::RowType;
use super::{DatasetError, csv, jsonl, pages, zeek};

/// Reads a table batch by batch.
pub struct TableReader {
    path: PathBuf,
    schema: SchemaRef,
    batches: Batches,
    notices: Vec<Notice>,
}

/// The magic bytes at the start and the end of Parquet files.
const PARQUET: &[u8] = b"PAR1";

/// The file name extension of JSON lines.
const JSON_LINES: &str = "jsonl";

/// The first line is searched up to this length, bytes. A row of flowml has a few thousand.
const FIRST_LINE: u64 = 1 << 20;

enum Format {
    Parquet,
    JsonLines,
    Zeek,
    Csv,
}

impl Format {
    /// The file name decides if the first line begins with a brace but is not JSON. It is then either damaged JSON
    /// lines, whose damage is to be reported, or the CSV header of another tool.
    fn of(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?).take(FIRST_LINE);
        let mut head = Vec::new();
        file.by_ref().take(PARQUET.len() as u64).read_to_end(&mut head)?;
        if head == PARQUET {
            return Ok(Self::Parquet);
        }
        if zeek::MAGIC.starts_with(&head) && !head.is_empty() {
            file.by_ref().take((zeek::MAGIC.len() - head.len()) as u64).read_to_end(&mut head)?;
            return Ok(if head == zeek::MAGIC { Self::Zeek } else { Self::Csv });
        }
        if !head.starts_with(b"{") {
            return Ok(Self::Csv);
        }
        if !head.contains(&b'\n') {
            file.read_until(b'\n', &mut head)?;
        }
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_row = serde_json::from_slice::<IgnoredAny>(line).is_ok();
        let is_called_so = path.extension().is_some_and(|extension| extension == JSON_LINES);
        Ok(if is_row || is_called_so { Self::JsonLines } else { Self::Csv })
    }
}

impl TableReader {
    /// Opens a file, or the flows of a folder written by `-o parquet=DIR`. A CSV file is first read once to find the
    /// types of its columns. A column is numeric if all its fields are numbers.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a table.
    pub fn open(path: &Path) -> Result<Self, DatasetError> {
        Self::open_with(path, HeaderRow::Present)
    }

    /// Like [`Self::open`], with or without a header in CSV files.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a table.
    pub fn open_with(path: &Path, header: HeaderRow) -> Result<Self, DatasetError> {
        Self::open_as(path, Reading { header, encoding: None })
    }

    /// Like [`Self::open`], with options for CSV files.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a table.
    pub fn open_as(path: &Path, reading: Reading) -> Result<Self, DatasetError> {
        if path.is_dir() {
            return Self::open_folder(path, RowType::Flow);
        }
        let path = path.to_owned();
        let format = Format::of(&path).map_err(|source| DatasetError::Read { path: path.clone(), source })?;
        let (schema, batches) = match format {
            Format::Parquet => parquet(&path)?,
            Format::JsonLines => jsonl::read(&path, RowType::Flow)?,
            Format::Zeek => zeek::read(&path)?,
            Format::Csv => {
                let (schema, batches, notices) = csv::read(&path, reading)?;
                return Ok(Self { path, schema, batches, notices });
            }
        };
        Ok(Self { path, schema, batches, notices: Vec::new() })
    }

    /// Opens the rows of one type in a folder written by `-o parquet=DIR`.
    ///
    /// # Errors
    /// If there are none, or the files are not tables.
    pub fn open_folder(folder: &Path, of: RowType) -> Result<Self, DatasetError> {
        let mut files = of.files(folder)?.into_iter();
        let first = files.next().unwrap_or_default();
        let (schema, batches) = parquet(&first)?;
        let expected = Arc::clone(&schema);
        let name = first.clone();
        let further = files.flat_map(move |file| further(&file, &expected, &name));
        Ok(Self { path: first, schema, batches: Box::new(batches.chain(further)), notices: Vec::new() })
    }

    /// Like [`Self::open`] for rows of one type. None if the file can only have flows, as CSV and single Parquet files
    /// do.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a table.
    pub fn open_type(path: &Path, of: RowType) -> Result<Option<Self>, DatasetError> {
        if of == RowType::Flow {
            return Self::open(path).map(Some);
        }
        if path.is_dir() {
            return Self::open_folder(path, of).map(Some);
        }
        let read = |source| DatasetError::Read { path: path.to_owned(), source };
        let (schema, batches) = match Format::of(path).map_err(read)? {
            Format::JsonLines => jsonl::read(path, of)?,
            Format::Parquet | Format::Zeek | Format::Csv => return Ok(None),
        };
        Ok(Some(Self { path: path.to_owned(), schema, batches, notices: Vec::new() }))
    }

    /// The same rows with each batch converted by `change`, as a table of `path` with the columns `schema`.
    #[must_use]
    pub fn changed(
        self,
        path: &Path,
        schema: SchemaRef,
        change: impl Fn(&RecordBatch) -> Result<RecordBatch, DatasetError> + 'static,
    ) -> Self {
        let batches = self.batches.map(move |batch| batch.and_then(|batch| change(&batch)));
        Self { path: path.to_owned(), schema, batches: Box::new(batches), notices: self.notices }
    }

    /// The detected properties of the file.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The columns of the table.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for TableReader {
    type Item = Result<RecordBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

/// The batches of a further file of the same table.
fn further(path: &Path, expected: &SchemaRef, first: &Path) -> Batches {
    let columns = |schema: &SchemaRef| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    let error = match parquet(path) {
        Ok((schema, batches)) if columns(&schema) == columns(expected) => return batches,
        Ok(_) => DatasetError::Malformed {
            path: path.to_owned(),
            message: format!("expected the same columns as those of {}, which it continues", first.display()),
        },
        Err(error) => error,
    };
    Box::new(std::iter::once(Err(error)))
}

fn parquet(path: &Path) -> Result<(SchemaRef, Batches), DatasetError> {
    let failed = |source| DatasetError::Read { path: path.to_owned(), source };
    let malformed = |message: String| DatasetError::Malformed { path: path.to_owned(), message };
    let file = File::open(path).map_err(failed)?;
    pages::check_footer(&file).map_err(malformed)?;
    let looked_at = file.try_clone().map_err(failed)?;
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(malformed)?;
    let rows = pages::check_pages(&looked_at, builder.metadata()).map_err(malformed)?;
    let schema = builder.schema().clone();
    check_columns(path, schema.fields().len())?;
    let mut reader = Some(guarded(|| builder.with_batch_size(rows).build()).map_err(malformed)?);
    let path = path.to_owned();
    let batches = std::iter::from_fn(move || {
        let batch = guarded(|| reader.as_mut().and_then(Iterator::next).transpose()).transpose()?;
        // After an error the library is not called again.
        reader = reader.take().filter(|_| batch.is_ok());
        Some(batch.map_err(|message| DatasetError::Malformed { path: path.clone(), message }))
    });
    Ok((schema, Box::new(batches)))
}

/// Calls the library and converts a panic to an error, as no file content should end the run.
fn guarded<T, E: fmt::Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    let read = catch_unwind(AssertUnwindSafe(read)).map_err(|_| "it is damaged: the Parquet reader panicked")?;
    read.map_err(|error| error.to_string())
}
