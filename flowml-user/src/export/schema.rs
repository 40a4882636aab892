//! The JSON Schema of the rows that are sent to other hosts, made of the tables of columns.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::columns::{
    OutputColumn, aggregate_columns, anomaly_columns, content_columns, flow_columns, host_columns, incident_columns,
    statistics_columns, tunnel_columns,
};
use super::jsonl;
use super::report::{RowCounts, Summary, Totals};
use crate::features::{FlowColumns, RowColumns};
use crate::record::ValueType;

/// The version of JSON Schema.
const DIALECT: &str = "http://json-schema.org/draft-07/schema#";

/// The columns of a run that looks into tunnels.
const WITH_TUNNELS: RowColumns = RowColumns { flows: FlowColumns::Headers, tunnels: true };

/// Writes the schema.
///
/// # Errors
/// If the stream cannot be written.
pub fn write_schema(stream: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *stream, &schema())?;
    stream.write_all(b"\n")
}

fn schema() -> Value {
    let row = |kind: &str| Value::from(format!("#/definitions/{kind}"));
    let kinds = ["flow", "host", "anomaly", "incident", "aggregate", "statistics", "summary"];
    json!({
        "$schema": DIALECT,
        "title": "A row of flowml",
        "description": "Rows of a later version may have more members, and more types.",
        "oneOf": kinds.map(|kind| json!({ "$ref": row(kind) })),
        "definitions": {
            "flow": object(
                "flow",
                members(flow_columns(FlowColumns::Headers)),
                members(tunnel_columns(WITH_TUNNELS).chain(content_columns(FlowColumns::Content(&[])))),
            ),
            "host": object("host", members(host_columns()), Map::new()),
            "anomaly": with_reasons(anomaly()),
            "incident": with_reasons(object("incident", members(incident_columns()), Map::new())),
            "aggregate": object("aggregate", members(aggregate_columns()), Map::new()),
            "statistics": object("statistics", members(statistics_columns()), Map::new()),
            "summary": object("summary", summary(), Map::new()),
            "reason": reason(),
        },
    })
}

/// A kind of row with the members that every row has, those that every row of this kind has, and others.
fn object(kind: &str, required: Map<String, Value>, optional: Map<String, Value>) -> Value {
    let integer = |meaning: &str| json!({ "type": "integer", "minimum": 0, "description": meaning });
    let mut properties = Map::from_iter([
        ("type".to_owned(), json!({ "const": kind })),
        ("agent".to_owned(), json!({ "type": "string", "description": "Identifier of the agent" })),
        ("generation".to_owned(), integer("Start of the agent: Unix time in µs")),
        ("sequence".to_owned(), integer("Number of the row among those of this output, agent and generation, from 0")),
    ]);
    properties.extend(required);
    let names: Vec<String> = properties.keys().cloned().collect();
    properties.extend(optional);
    json!({ "type": "object", "properties": properties, "required": names })
}

fn members(columns: impl Iterator<Item = OutputColumn>) -> Map<String, Value> {
    columns.map(|column| (column.name.to_owned(), value(&column))).collect()
}

/// An anomaly of a flow or of a host window. Each has some of the columns.
fn anomaly() -> Value {
    let always = ["subject", "cluster", "score", "probability", "anomaly", "withheld", "reason"];
    let (always, others) = anomaly_columns(WITH_TUNNELS).partition::<Vec<_>, _>(|column| always.contains(&column.name));
    object("anomaly", members(always.into_iter()), members(others.into_iter()))
}

/// Adds the member `reasons`.
fn with_reasons(mut object: Value) -> Value {
    object["properties"]["reasons"] = json!({ "type": "array", "items": { "$ref": "#/definitions/reason" } });
    if let Some(required) = object["required"].as_array_mut() {
        required.push("reasons".into());
    }
    object
}

fn reason() -> Value {
    let number = || json!({ "type": ["number", "null"] });
    let properties = json!({
        "feature": { "type": "string" },
        "unit": { "type": "string" },
        "value": number(),
        "typical": { "type": "array", "items": number(), "minItems": 2, "maxItems": 2 },
        "share": number(),
    });
    json!({ "type": "object", "properties": properties, "required": ["feature", "unit", "value", "typical", "share"] })
}

/// A value of a column. A value that is not defined is null.
fn value(column: &OutputColumn) -> Value {
    let kind = match column.kind {
        ValueType::Text => json!({ "type": ["string", "null"] }),
        ValueType::Integer => json!({ "type": ["integer", "null"] }),
        ValueType::Real => json!({ "type": ["number", "null"] }),
        ValueType::Flag => json!({ "type": ["boolean", "null"] }),
        ValueType::Integers => json!({ "type": ["array", "null"], "items": { "type": "integer" } }),
        ValueType::Reals => json!({ "type": ["array", "null"], "items": { "type": ["number", "null"] } }),
    };
    let unit = if column.unit.is_empty() { String::new() } else { format!(" ({})", column.unit) };
    let mut value = kind;
    value["description"] = format!("{}{unit}", column.meaning).into();
    value
}

/// The members of the summary, from one of a run without packets.
fn summary() -> Map<String, Value> {
    let summary =
        Summary { totals: Totals::default(), rows: RowCounts::default(), collectors: Vec::new(), losses: Vec::new() };
    let mut line = Vec::new();
    jsonl::write_summary(&mut line, &summary, None);
    let row = serde_json::from_slice::<Map<String, Value>>(&line).expect("a row is an object");
    let members = row.into_iter().filter(|(name, _)| name != "type");
    members.map(|(name, value)| (name, json!({ "type": type_of(&value) }))).collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    #[test]
    fn the_committed_schema_is_that_of_the_columns() {
        let mut text = Vec::new();
        write_schema(&mut text).expect("memory takes every byte");
        golden::assert_is("../docs/rows.schema.json", &String::from_utf8(text).expect("JSON is text"));
    }
}
