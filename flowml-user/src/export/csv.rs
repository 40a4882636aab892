//! Writes comma-separated values (RFC 4180, but with line feeds only): flow rows under a header.

use std::borrow::Cow;

use super::columns::{Cell, flow_cells, flow_columns};
use crate::features::{FlowRow, RowColumns};
use crate::learning::Verdict;
use crate::record::Value;

/// Appends the header.
pub(super) fn write_header(line: &mut Vec<u8>, columns: RowColumns) {
    write_fields(line, flow_columns(columns), |line, column| write_text(line, column.name));
}

/// Appends a flow.
pub(super) fn write_flow(line: &mut Vec<u8>, row: &FlowRow, verdict: Option<&Verdict>) {
    write_fields(line, flow_cells(row, verdict), |line, (_, cell)| write_cell(line, &cell));
}

/// Appends a row of fields. A single empty field is quoted, as an empty line would not count as a row.
pub(crate) fn write_fields<T>(line: &mut Vec<u8>, fields: impl Iterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    let begin = line.len();
    // Internal iteration, as it is faster over the chained tables of the fields.
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

/// Appends a cell: numbers and flags as in JSON, a missing value as an empty field.
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

/// Whether a spreadsheet would evaluate the text instead of showing it (OWASP, *CSV injection*). A sign alone is not
/// evaluated, and a number with a sign is that number.
fn is_formula(text: &str) -> bool {
    let mut rest = text.chars();
    match rest.next() {
        // Japanese spreadsheets accept the full-width forms, too.
        Some('=' | '@' | '\t' | '\r' | '＝' | '＠') => true,
        Some('+' | '-' | '＋' | '－') => !rest.as_str().is_empty() && text.parse::<f64>().is_err(),
        _ => false,
    }
}

/// The prefix of a text that would be evaluated, so that it is shown.
const MARK: char = '\'';

/// The text as it is written, with the prefix if it would be evaluated. A text that looks prefixed gets the prefix,
/// too, so that [`unmarked`] restores every text.
pub(crate) fn marked(text: &str) -> Cow<'_, str> {
    // Most texts are addresses and names, which the first byte shows to be no formula.
    if text.as_bytes().first().is_none_or(u8::is_ascii_alphanumeric) {
        return Cow::Borrowed(text);
    }
    if is_formula(text.trim_start_matches(MARK)) { Cow::Owned(format!("{MARK}{text}")) } else { Cow::Borrowed(text) }
}

/// Restores a text that was written with [`marked`].
pub(crate) fn unmarked(field: &str) -> &str {
    match field.strip_prefix(MARK) {
        Some(text) if is_formula(text.trim_start_matches(MARK)) => text,
        _ => field,
    }
}

/// Appends a text, with prefix and quotes if needed. A line feed becomes a space, as it would split the row.
pub(crate) fn write_text(line: &mut Vec<u8>, text: &str) {
    let text = &*marked(text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_that_a_spreadsheet_would_evaluate_are_marked() {
        let formulas = [
            "=1+1",
            "@SUM(A1)",
            "+cmd|' /C calc'!A0",
            "-2+3",
            "\t=1",
            "\r=1",
            "'=1",
            "''@x",
            "--x",
            "＝1",
            "－a",
            "'-'",
        ];
        for text in formulas {
            assert_eq!(marked(text), format!("'{text}"));
        }
        for text in ["", "-", "+", "+1", "-5", "-1e5", "007", "a=b", "'", "'a", "[1,-2]", "10.0.0.1", "don't", "–"] {
            assert_eq!(marked(text), text);
        }
        for text in formulas.iter().chain(&["", "-", "'", "'a", "'-", "-'"]) {
            assert_eq!(unmarked(&marked(text)), *text);
        }
        assert_eq!(unmarked("'a"), "'a");
        let mut line = Vec::new();
        write_fields(&mut line, ["=HYPERLINK(\"x\",\"y\")", "ok"].into_iter(), write_text);
        assert_eq!(String::from_utf8_lossy(&line), "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\",ok\n");
    }
}
