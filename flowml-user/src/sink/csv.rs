//! Comma-separated values (RFC 4180, with line feeds alone): flow rows under a header.

use super::columns::{Cell, flow_cells, flow_columns};
use crate::features::{FlowColumns, FlowRow};
use crate::model::Verdict;
use crate::record::Value;

/// Appends the header.
pub(super) fn write_header(line: &mut Vec<u8>, columns: FlowColumns) {
    write_fields(line, flow_columns(columns), |line, column| write_text(line, column.name));
}

/// Appends a flow.
pub(super) fn write_flow(line: &mut Vec<u8>, row: &FlowRow, verdict: Option<&Verdict>) {
    write_fields(line, flow_cells(row, verdict), |line, (_, cell)| write_cell(line, &cell));
}

/// Appends a row of fields. One empty field alone is quoted: readers take an empty line for no row.
pub(crate) fn write_fields<T>(line: &mut Vec<u8>, fields: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    let begin = line.len();
    // From within, as the tables that the fields come from are many and each is gone through at once.
    fields.enumerate().for_each(|(at, field)| {
        if at > 0 {
            line.push(b',');
        }
        write(line, field);
    });
    if line.len() == begin {
        line.extend_from_slice(b"\"\"");
    }
    line.push(b'\n');
}

/// Numbers and flags as in JSON; what is not there is empty.
pub(crate) fn write_cell(line: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Value(Value::Text(text)) => write_text(line, text),
        Cell::Value(Value::Name(name)) => write_text(line, name),
        Cell::List(_) => {
            line.push(b'"');
            cell.write_json(line);
            line.push(b'"');
        }
        _ if cell.is_absent() => {}
        _ => cell.write_json(line),
    }
}

/// Quotes what must be; a line feed, which would split the row, becomes a space.
pub(crate) fn write_text(line: &mut Vec<u8>, text: &str) {
    if !text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return line.extend_from_slice(text.as_bytes());
    }
    line.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => line.extend_from_slice(b"\"\""),
            b'\n' | b'\r' => line.push(b' '),
            other => line.push(other),
        }
    }
    line.push(b'"');
}
