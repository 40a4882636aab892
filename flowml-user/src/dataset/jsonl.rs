//! Reading flowml's JSON lines: the rows of one type.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use serde_json::{Map, Value as Json};

use super::batch::{Batches, fill};
use super::{DatasetError, RowType};
use crate::features::FlowColumns;
use crate::record::{CONTENT_IDENTIFIERS, Kind, MATCH_PREFIX, Value};
use crate::sink::cells::{Cell, OutputColumn, field, flow_columns};
use crate::sink::{host_columns, incident_columns};

/// Reads a table.
pub(super) fn read(path: &Path, of: RowType) -> Result<(SchemaRef, Batches), DatasetError> {
    let open = || File::open(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source });
    let columns: Vec<OutputColumn> = match of {
        RowType::Flow => flow_columns(columns_of(BufReader::new(open()?))).collect(),
        RowType::Host => host_columns().collect(),
        RowType::Incident => incident_columns().collect(),
    };
    let file = open()?;
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let rows =
        Rows { lines: BufReader::new(file), line: 0, of, columns, schema: Arc::clone(&schema), path: path.to_owned() };
    Ok((schema, Box::new(rows)))
}

/// The columns of the first flow of a file.
fn columns_of(lines: BufReader<File>) -> FlowColumns {
    let rows = lines.lines().map_while(Result::ok).filter_map(|text| serde_json::from_str(&text).ok());
    let flow = rows.into_iter().find(|row: &Map<String, Json>| row.get("type").and_then(Json::as_str) == Some("flow"));
    let Some(flow) = flow.filter(|flow| CONTENT_IDENTIFIERS.iter().all(|column| flow.contains_key(column.name))) else {
        return FlowColumns::Headers;
    };
    let matches = flow.keys().filter(|name| name.starts_with(MATCH_PREFIX));
    // Names of columns are kept for the life of the program.
    let names: Vec<&'static str> = matches.map(|name| &*name.clone().leak()).collect();
    FlowColumns::Content(names.leak())
}

struct Rows {
    lines: BufReader<File>,
    /// Number of the last line that was read, from 1.
    line: u64,
    of: RowType,
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
    path: PathBuf,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>, DatasetError> {
        let (schema, columns) = (Arc::clone(&self.schema), self.columns.clone());
        fill(&schema, columns.iter().map(|column| column.kind), |builders| {
            let Some(row) = self.row_of_type()? else { return Ok(false) };
            for (builder, column) in builders.iter_mut().zip(&columns) {
                let value = row.get(column.name).unwrap_or(&Json::Null);
                builder.append(cell(value, column.kind).ok_or_else(|| {
                    self.malformed(&format!("'{}' is {value}; expected {}", column.name, column.kind.name()))
                })?);
            }
            Ok(true)
        })
    }

    /// The next row of the type that is read.
    fn row_of_type(&mut self) -> Result<Option<Map<String, Json>>, DatasetError> {
        loop {
            let row = self.row()?;
            let is_other = |row: &Map<String, Json>| row.get("type").and_then(Json::as_str) != Some(self.of.name());
            if !row.as_ref().is_some_and(is_other) {
                return Ok(row);
            }
        }
    }

    fn row(&mut self) -> Result<Option<Map<String, Json>>, DatasetError> {
        let mut text = String::new();
        let read = self.lines.read_line(&mut text);
        if read.map_err(|source| DatasetError::Read { path: self.path.clone(), source })? == 0 {
            return Ok(None);
        }
        self.line += 1;
        serde_json::from_str(&text).map(Some).map_err(|error| self.malformed(&error.to_string()))
    }

    fn malformed(&self, message: &str) -> DatasetError {
        DatasetError::Malformed { path: self.path.clone(), message: format!("line {}: {message}", self.line) }
    }
}

/// The value for a column of this type; None where it is of another.
fn cell(value: &Json, kind: Kind) -> Option<Cell> {
    if value.is_null() {
        return Some(Cell::ABSENT);
    }
    match kind {
        Kind::Text => value.as_str().map(|text| Cell::Value(Value::Text(text.to_owned()))),
        Kind::Integer => value.as_u64().map(|number| Cell::Value(Value::Number(number))),
        Kind::Real => value.as_f64().map(Cell::Real),
        Kind::Flag => value.as_bool().map(|flag| Cell::Value(Value::Flag(flag))),
        Kind::Integers | Kind::Reals => {
            value.as_array()?.iter().map(Json::as_f64).collect::<Option<_>>().map(Cell::List)
        }
    }
}
