//! Reads flowml's JSON lines: the rows of one type.

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use serde_json::{Map, Value as Json};

use super::batch::{Batches, batches, fill};
use super::limits::check_columns;
use super::lines::Lines;
use super::{DatasetError, RowType};
use crate::export::cells::{Cell, OutputColumn, field, flow_columns};
use crate::export::{host_columns, incident_columns};
use crate::features::{FlowColumns, RowColumns};
use crate::record::{CONTENT_IDENTIFIERS, FlowRecord, Identifier, MATCH_PREFIX, TUNNEL_IDENTIFIERS, Value, ValueType};

/// A parsed row.
type Row = Map<String, Json>;

/// Reads the rows of a type.
pub(super) fn read(path: &Path, of: RowType) -> Result<(SchemaRef, Batches), DatasetError> {
    let columns: Vec<OutputColumn> = match of {
        RowType::Flow => flow_columns(columns_of(Lines::open(path)?)).collect(),
        RowType::Host => host_columns().collect(),
        RowType::Incident => incident_columns().collect(),
    };
    check_columns(path, columns.len())?;
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let mut rows = JsonlRows { lines: Lines::open(path)?, of, columns, schema: Arc::clone(&schema) };
    Ok((schema, batches(move || rows.batch())))
}

/// The columns of the first flow in a file.
fn columns_of(mut lines: Lines) -> RowColumns {
    let mut rows = std::iter::from_fn(|| lines.next().ok().flatten().map(serde_json::from_slice::<Row>));
    let is_flow = |row: &Row| row.get("type").and_then(Json::as_str) == Some("flow");
    let flow = rows.find_map(|row| row.ok().filter(is_flow));
    let has = |flow: &Row, columns: &[Identifier<FlowRecord>]| columns.iter().all(|it| flow.contains_key(it.name));
    let tunnels = flow.as_ref().is_some_and(|flow| has(flow, TUNNEL_IDENTIFIERS));
    let Some(flow) = flow.filter(|flow| has(flow, CONTENT_IDENTIFIERS)) else {
        return RowColumns { flows: FlowColumns::Headers, tunnels };
    };
    let matches = flow.keys().filter(|name| name.starts_with(MATCH_PREFIX));
    // Names of columns have static lifetime, so these are leaked.
    let names: Vec<&'static str> = matches.map(|name| &*name.clone().leak()).collect();
    RowColumns { flows: FlowColumns::Content(names.leak()), tunnels }
}

struct JsonlRows {
    lines: Lines,
    of: RowType,
    columns: Vec<OutputColumn>,
    schema: SchemaRef,
}

impl JsonlRows {
    fn batch(&mut self) -> Result<Option<RecordBatch>, DatasetError> {
        let (schema, columns) = (Arc::clone(&self.schema), self.columns.clone());
        fill(&schema, columns.iter().map(|column| column.kind), |builders| {
            let Some((row, bytes)) = self.row_of_type()? else { return Ok(None) };
            for (builder, column) in builders.iter_mut().zip(&columns) {
                let value = row.get(column.name).unwrap_or(&Json::Null);
                builder.append(cell(value, column.kind).ok_or_else(|| {
                    self.lines.malformed(&format!("'{}' is {value}; expected {}", column.name, column.kind.name()))
                })?);
            }
            Ok(Some(bytes))
        })
    }

    /// The next row of the requested type, and its length, bytes.
    fn row_of_type(&mut self) -> Result<Option<(Row, usize)>, DatasetError> {
        while let Some(text) = self.lines.next()? {
            let (row, bytes) = (serde_json::from_slice::<Row>(text), text.len());
            let row = row.map_err(|error| self.lines.malformed(&error.to_string()))?;
            if row.get("type").and_then(Json::as_str) == Some(self.of.name()) {
                return Ok(Some((row, bytes)));
            }
        }
        Ok(None)
    }
}

/// The value for a column of this type; None if the value has another type.
fn cell(value: &Json, kind: ValueType) -> Option<Cell> {
    if value.is_null() {
        return Some(Cell::ABSENT);
    }
    match kind {
        ValueType::Text => value.as_str().map(|text| Cell::Value(Value::Text(text.to_owned()))),
        ValueType::Integer => value.as_u64().map(|number| Cell::Value(Value::Number(number))),
        ValueType::Real => value.as_f64().map(Cell::Real),
        ValueType::Flag => value.as_bool().map(|flag| Cell::Value(Value::Flag(flag))),
        ValueType::Integers | ValueType::Reals => {
            value.as_array()?.iter().map(Json::as_f64).collect::<Option<_>>().map(Cell::List)
        }
    }
}
