//! The catalogue of columns: their meanings as text, as JSON and for docs/FEATURES.md.

use std::io::{self, Write};

use serde::Serialize;

use super::columns::{
    OutputColumn, aggregate_columns, content_columns, flow_columns, host_columns, incident_columns, statistics_columns,
    tunnel_columns,
};
use crate::features::{FlowColumns, RowColumns};

/// One table of rows with its columns.
struct Section {
    name: &'static str,
    title: &'static str,
    columns: Vec<OutputColumn>,
}

fn tables() -> [Section; 7] {
    [
        Section { name: "flow", title: "flow rows", columns: flow_columns(FlowColumns::Headers).collect() },
        Section {
            name: "tunnel",
            title: "flow rows with --tunnels inner, after the identifiers",
            columns: tunnel_columns(RowColumns { tunnels: true, ..RowColumns::default() }).collect(),
        },
        Section {
            name: "content",
            title: "flow rows with --payload, before the verdict (and match_NAME for each --match NAME=REGEX)",
            columns: content_columns(FlowColumns::Content(&[])).collect(),
        },
        Section { name: "host", title: "host rows", columns: host_columns().collect() },
        Section { name: "incident", title: "incident rows", columns: incident_columns().collect() },
        Section { name: "aggregate", title: "aggregate rows", columns: aggregate_columns().collect() },
        Section { name: "statistics", title: "statistics rows", columns: statistics_columns().collect() },
    ]
}

/// A column's entry in the catalogue, as one row of text.
fn entry(column: &OutputColumn) -> [&'static str; 6] {
    let OutputColumn { name, kind, unit, meaning, learn, nfstream } = *column;
    [name, kind.name(), unit, learn.name(), if nfstream { "same" } else { "" }, meaning]
}

/// The header of the entries.
const HEADER: [&str; 6] = ["column", "type", "unit", "learnt", "NFStream", "meaning"];

/// Writes all columns as human-readable text.
///
/// # Errors
/// If the stream cannot be written.
pub fn write_text(stream: &mut impl Write) -> io::Result<()> {
    for (at, Section { title, columns, .. }) in tables().iter().enumerate() {
        let rows: Vec<_> = std::iter::once(HEADER).chain(columns.iter().map(entry)).collect();
        let widths: Vec<usize> =
            (0..HEADER.len() - 1).map(|field| rows.iter().map(|row| row[field].len()).max().unwrap_or(0)).collect();
        writeln!(stream, "{}{title}", if at > 0 { "\n" } else { "" })?;
        for row in rows {
            for (text, width) in row.iter().zip(&widths) {
                write!(stream, "{text:width$}  ")?;
            }
            writeln!(stream, "{}", row[HEADER.len() - 1])?;
        }
    }
    Ok(())
}

/// A column as one JSON object.
#[derive(Serialize)]
struct Entry {
    table: &'static str,
    name: &'static str,
    r#type: &'static str,
    unit: &'static str,
    learnt: &'static str,
    nfstream: bool,
    meaning: &'static str,
}

/// Writes all columns as JSON lines, one object per column.
///
/// # Errors
/// If the stream cannot be written.
pub fn write_json(stream: &mut impl Write) -> io::Result<()> {
    for Section { name: table, columns, .. } in tables() {
        for OutputColumn { name, kind, unit, meaning, learn, nfstream } in columns {
            let entry = Entry { table, name, r#type: kind.name(), unit, learnt: learn.name(), nfstream, meaning };
            serde_json::to_writer(&mut *stream, &entry)?;
            stream.write_all(b"\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::export::golden;
    use crate::features::DIFFERENCES;
    use crate::record::{PROTOCOLS, Protocol};

    fn text(write: fn(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes).expect("memory takes every byte");
        String::from_utf8(bytes).expect("the catalogue is text")
    }

    #[test]
    fn text_and_json_list_the_same_columns() {
        let expected: Vec<OutputColumn> = tables().into_iter().flat_map(|table| table.columns).collect();
        let rows: Vec<Value> = text(write_json).lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(rows.len(), expected.len());
        for (row, column) in rows.iter().zip(&expected) {
            assert_eq!(row["name"], column.name);
            assert_eq!((row["unit"].as_str(), row["type"].as_str()), (Some(column.unit), Some(column.kind.name())));
        }
        let listed = text(write_text);
        let named = |line: &&str| line.split("  ").count() > 2 && !line.starts_with("column");
        let expected: Vec<&str> = expected.iter().map(|column| column.name).collect();
        let names: Vec<&str> = listed.lines().filter(named).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, expected);
    }

    fn columns_table(columns: &[OutputColumn]) -> String {
        let line = |fields: [&str; 6]| format!("| {} |\n", fields.join(" | "));
        let rows = columns.iter().map(|column| {
            let mut fields = entry(column);
            let name = format!("`{}`", column.name);
            fields[0] = &name;
            line(fields)
        });
        format!("{}{}{}", line(HEADER), line(["---"; 6]), rows.collect::<String>())
    }

    fn differences_table() -> String {
        let rows = DIFFERENCES
            .iter()
            .map(|rule| format!("| `{}` | {} | {} | {} |\n", rule.name, rule.of, rule.nfstream, rule.flowml));
        format!("| rule | touches | NFStream | flowml |\n| --- | --- | --- | --- |\n{}", rows.collect::<String>())
    }

    fn applications_table() -> String {
        let rows = PROTOCOLS
            .iter()
            .map(|Protocol { name, server_name, detail, .. }| format!("| `{name}` | {server_name} | {detail} |\n"));
        format!(
            "| `application_name` | `requested_server_name` | `application_detail` |\n| --- | --- | --- |\n{}",
            rows.collect::<String>()
        )
    }

    #[test]
    fn the_document_has_every_column_and_every_difference() {
        let mut document = golden::read("../docs/FEATURES.md");
        for table in tables() {
            document = golden::replaced(&document, table.name, &columns_table(&table.columns));
        }
        document = golden::replaced(&document, "applications", &applications_table());
        document = golden::replaced(&document, "differences", &differences_table());
        golden::assert_is("../docs/FEATURES.md", &document);
    }
}
