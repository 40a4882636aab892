//! Reading CSV: types are found in a first pass over the file, values in a second.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::csv::{Reader, ReaderBuilder, StringRecord, Trim};
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use super::{BATCH, DatasetError, HeaderRow};
use crate::features::FlowColumns;
use crate::record::{Kind, Value};
use crate::sink::cells::{Builder, Cell, OutputColumn, field, flow_columns, plain_field};

/// The batches of a CSV file.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, DatasetError>>>;

/// What the fields of a column may be.
#[derive(Clone, Copy)]
struct Seen {
    any: bool,
    integer: bool,
    real: bool,
    flag: bool,
}

impl Seen {
    const NOTHING: Self = Self { any: false, integer: true, real: true, flag: true };

    fn look_at(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.any = true;
        // What is whole is real as well.
        self.integer = self.integer && integer(text).is_some();
        self.real = self.integer || self.real && real(text).is_some();
        self.flag = self.flag && flag(text).is_some();
    }

    /// The type, given the one that flowml's own column of this name has.
    fn kind(self, known: Option<Kind>) -> Kind {
        let found = match self {
            Self { any: false, .. } => return known.unwrap_or(Kind::Text),
            Self { flag: true, .. } => Kind::Flag,
            Self { integer: true, .. } => Kind::Integer,
            Self { real: true, .. } => Kind::Real,
            _ => Kind::Text,
        };
        match (known, found) {
            // All numbers of a real column may happen to be whole.
            (Some(Kind::Real), Kind::Integer) => Kind::Real,
            (Some(list @ (Kind::Integers | Kind::Reals)), Kind::Text) => list,
            _ => found,
        }
    }
}

/// A whole number, not negative.
fn integer(text: &str) -> Option<u64> {
    text.parse::<i64>().ok().filter(|_| is_amount(text)).and_then(|number| u64::try_from(number).ok())
}

/// Any number, also one that is infinite or none (`Infinity`, `NaN`).
fn real(text: &str) -> Option<f64> {
    text.parse().ok().filter(|_| is_amount(text))
}

/// Whether a number is one: `007` and `+1` are names.
fn is_amount(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    !matches!(digits, [b'+', ..] | [b'0', b'0'..=b'9', ..])
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn cell(text: &str, kind: Kind) -> Cell {
    if text.is_empty() {
        return Cell::ABSENT;
    }
    let cell = match kind {
        Kind::Text => Some(Cell::Value(Value::Text(text.to_owned()))),
        Kind::Integer => integer(text).map(|number| Cell::Value(Value::Number(number))),
        Kind::Real => real(text).map(Cell::Real),
        Kind::Flag => flag(text).map(|flag| Cell::Value(Value::Flag(flag))),
        Kind::Integers | Kind::Reals => serde_json::from_str(text).ok().map(Cell::List),
    };
    cell.unwrap_or(Cell::ABSENT)
}

/// Opens the file behind its header; columns without one are called by their numbers, from 1.
fn open(path: &Path, header: HeaderRow) -> Result<(Reader<File>, Vec<String>), DatasetError> {
    let file = File::open(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let has_header = header == HeaderRow::Present;
    let mut reader = ReaderBuilder::new().has_headers(has_header).trim(Trim::All).from_reader(file);
    let header = reader.headers().map_err(|error| malformed(path, &error))?;
    let names: Vec<String> = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    if names.iter().all(String::is_empty) {
        let message = "expected CSV with a header, JSON lines, Parquet or a Zeek log".to_owned();
        return Err(DatasetError::Malformed { path: path.to_owned(), message });
    }
    let names = if has_header { names } else { (1..=names.len()).map(|number| number.to_string()).collect() };
    Ok((reader, names))
}

fn malformed(path: &Path, error: &::csv::Error) -> DatasetError {
    DatasetError::Malformed { path: path.to_owned(), message: error.to_string() }
}

/// Reads a table.
pub(super) fn read(path: &Path, header: HeaderRow) -> Result<(SchemaRef, Batches), DatasetError> {
    let (mut reader, names) = open(path, header)?;
    let mut seen = vec![Seen::NOTHING; names.len()];
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| malformed(path, &error))? {
        seen.iter_mut().zip(&record).for_each(|(seen, text)| seen.look_at(text));
    }
    let known: Vec<OutputColumn> = flow_columns(FlowColumns::Content(&[])).collect();
    let columns = names.iter().zip(seen).map(|(name, seen)| {
        let known = known.iter().find(|column| column.name == name);
        let kind = seen.kind(known.map(|column| column.kind));
        let field = match known {
            Some(column) => field(&OutputColumn { kind, ..*column }),
            None => plain_field(name, kind),
        };
        (field, kind)
    });
    let (fields, kinds): (Vec<_>, Vec<_>) = columns.unzip();
    let schema = Arc::new(Schema::new(fields));
    let (reader, _) = open(path, header)?;
    let rows = Rows { reader, kinds, schema: Arc::clone(&schema), path: path.to_owned() };
    Ok((schema, Box::new(rows)))
}

/// The second pass.
struct Rows {
    reader: Reader<File>,
    kinds: Vec<Kind>,
    schema: SchemaRef,
    path: std::path::PathBuf,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>, DatasetError> {
        let mut builders: Vec<Builder> = self.kinds.iter().map(|kind| Builder::of(*kind)).collect();
        let mut record = StringRecord::new();
        let mut rows = 0;
        while rows < BATCH && self.reader.read_record(&mut record).map_err(|error| malformed(&self.path, &error))? {
            for ((builder, kind), text) in builders.iter_mut().zip(&self.kinds).zip(&record) {
                builder.append(cell(text, *kind));
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let arrays = builders.iter_mut().map(Builder::finish).collect();
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?))
    }
}
