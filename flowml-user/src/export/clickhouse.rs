//! ClickHouse's tables of the rows that are sent to other hosts, made of the tables of columns.

use std::io::{self, Write};

use super::columns::{
    OutputColumn, aggregate_columns, flow_columns, host_columns, incident_columns, statistics_columns,
};
use crate::features::{FlowColumns, RowColumns};
use crate::record::ValueType;

/// The first lines, with the table that gets the messages.
const HEAD: &str = "\
-- Tables of the rows, made of the tables of columns: `flowml features --format clickhouse` prints this file.
-- A message is one row of JSON. Insert messages into `intake`: each view writes the rows of one type to their table.
CREATE TABLE IF NOT EXISTS intake (row String) ENGINE = Null;
";

/// The members that a message has besides its columns: name, type in a table, type in JSON, meaning.
#[rustfmt::skip]
const NUMBERS: [[&str; 4]; 3] = [
    ["agent", "LowCardinality(String)", "String", "Identifier of the agent"],
    ["generation", "UInt64 CODEC(Delta, ZSTD)", "UInt64", "Start of the agent: Unix time in µs"],
    ["sequence", "UInt64 CODEC(Delta, ZSTD)", "UInt64",
        "Number of the row among those of this output, agent and generation, from 0"],
];

/// Columns that every row has, so that queries and keys need no null.
#[rustfmt::skip]
const ALWAYS: &[&str] = &[
    "src_ip", "src_port", "dst_ip", "dst_port", "protocol", "ip_version", "address",
    "bidirectional_first_seen_ms", "bidirectional_last_seen_ms", "bidirectional_packets", "bidirectional_bytes", "src2dst_packets", "src2dst_bytes",
    "dst2src_packets", "dst2src_bytes", "window_start_ms", "window_end_ms", "incident", "state", "kind", "start_ms",
    "end_ms", "flows", "model", "model_number", "learner", "rows", "distance", "sums", "squares", "scores",
];

/// Texts with many different values, for which a dictionary is no use.
#[rustfmt::skip]
const VARIED: &[&str] = &[
    "community_id", "src_ip", "dst_ip", "address", "src_mac", "dst_mac", "summary", "sources", "targets", "reason",
    "requested_server_name", "outer_src_ip", "outer_dst_ip",
];

/// Unix time of 2020, ms. A row with an earlier time has no valid time.
const EARLIEST_MS: u64 = 1_577_836_800_000;

/// The furthest time after the engine's own that a row may have, ms: one day.
const AHEAD_MS: u64 = 86_400_000;

/// A table of one type of rows.
struct Table {
    name: &'static str,
    /// The type of the rows.
    kind: &'static str,
    /// The column with the time of a row.
    time: &'static str,
    /// The number of days for which a row is stored.
    days: u32,
    /// Columns that only some rows have, although they are in the list of those that every row has.
    sometimes: &'static [&'static str],
    columns: Vec<OutputColumn>,
}

fn tables() -> [Table; 5] {
    let last_seen = "bidirectional_last_seen_ms";
    let flows: Vec<_> = flow_columns(RowColumns { flows: FlowColumns::Content(&[]), tunnels: true }).collect();
    let (hosts, incidents) = (host_columns().collect(), incident_columns().collect());
    let aggregates = aggregate_columns().collect();
    [
        Table { name: "flows", kind: "flow", time: last_seen, days: 30, sometimes: &[], columns: flows },
        Table { name: "host_windows", kind: "host", time: "window_end_ms", days: 30, sometimes: &[], columns: hosts },
        Table { name: "incidents", kind: "incident", time: "end_ms", days: 365, sometimes: &[], columns: incidents },
        Table {
            name: "aggregates",
            kind: "aggregate",
            time: last_seen,
            days: 30,
            sometimes: &["dst_ip", "dst_port"],
            columns: aggregates,
        },
        Table {
            name: "statistics",
            kind: "statistics",
            time: "end_ms",
            days: 30,
            sometimes: &[],
            columns: statistics_columns().collect(),
        },
    ]
}

/// Writes the statements that make the tables, and the views that fill them.
///
/// # Errors
/// If the stream cannot be written.
pub fn write_clickhouse(stream: &mut impl Write) -> io::Result<()> {
    stream.write_all(HEAD.as_bytes())?;
    tables().iter().try_for_each(|table| {
        writeln!(stream)?;
        table.write(stream)?;
        writeln!(stream)?;
        table.write_view(stream)
    })
}

impl Table {
    fn write(&self, stream: &mut impl Write) -> io::Result<()> {
        let Self { name, time, days, columns, .. } = self;
        writeln!(stream, "CREATE TABLE IF NOT EXISTS {name}\n(")?;
        for [name, stored, _, meaning] in NUMBERS {
            writeln!(stream, "    {name} {stored} COMMENT {},", quoted(meaning))?;
        }
        for column in columns {
            let unit = if column.unit.is_empty() { String::new() } else { format!(" ({})", column.unit) };
            let comment = quoted(&format!("{}{unit}", column.meaning));
            writeln!(stream, "    {} {} {} COMMENT {comment},", column.name, self.stored(column), codec(column))?;
        }
        writeln!(
            stream,
            "    time DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli({time}, 'UTC') CODEC(Delta, ZSTD) \
             COMMENT 'Time of the row'\n)"
        )?;
        // Doubled rows have the same time, so they are in one partition, where the engine merges them.
        writeln!(
            stream,
            "ENGINE = ReplacingMergeTree\nPARTITION BY toDate(time)\nORDER BY (toStartOfHour(time), agent, generation, \
             sequence)\nTTL toDateTime(time) + INTERVAL {days} DAY;"
        )
    }

    fn write_view(&self, stream: &mut impl Write) -> io::Result<()> {
        let Self { name, kind, time, columns, .. } = self;
        let names = NUMBERS.iter().map(|number| number[0]).chain(columns.iter().map(|column| column.name));
        let selected: Vec<String> = names.map(|name| format!("    r.{name} AS {name}")).collect();
        let numbers = NUMBERS.iter().map(|[name, _, sent, _]| format!("{name} {sent}"));
        let columns = columns.iter().map(|column| format!("{} {}", column.name, self.sent(column)));
        let members: Vec<String> = numbers.chain(columns).collect();
        writeln!(stream, "CREATE MATERIALIZED VIEW IF NOT EXISTS {name}_of_intake TO {name} AS\nSELECT")?;
        writeln!(stream, "{}\nFROM\n(", selected.join(",\n"))?;
        writeln!(stream, "    SELECT JSONExtract(row, 'Tuple({})') AS r", members.join(", "))?;
        writeln!(stream, "    FROM intake\n    WHERE JSONExtractString(row, 'type') = '{kind}'\n)")?;
        writeln!(
            stream,
            "WHERE r.agent != '' AND r.{time} BETWEEN {EARLIEST_MS} AND toUnixTimestamp64Milli(now64(3)) + {AHEAD_MS};"
        )
    }

    /// The type of a value in JSON.
    fn sent(&self, column: &OutputColumn) -> String {
        let of = match column.kind {
            ValueType::Text => "String",
            ValueType::Integer => "Int64",
            ValueType::Real => "Float64",
            ValueType::Flag => "Bool",
            ValueType::Integers => return "Array(Int64)".to_owned(),
            ValueType::Reals if self.is_always(column) => return "Array(Float64)".to_owned(),
            ValueType::Reals => return "Array(Nullable(Float64))".to_owned(),
        };
        if self.is_always(column) { of.to_owned() } else { format!("Nullable({of})") }
    }

    /// Whether every row has a value.
    fn is_always(&self, column: &OutputColumn) -> bool {
        ALWAYS.contains(&column.name) && !self.sometimes.contains(&column.name)
    }

    /// The type of a column.
    fn stored(&self, column: &OutputColumn) -> String {
        let sent = self.sent(column);
        let repeats = column.kind == ValueType::Text && !VARIED.contains(&column.name);
        if repeats { format!("LowCardinality({sent})") } else { sent }
    }
}

/// Times grow from row to row, so their differences are small.
fn codec(column: &OutputColumn) -> &'static str {
    let is_time = column.kind == ValueType::Integer && column.meaning.starts_with("Unix time");
    if is_time { "CODEC(Delta, ZSTD)" } else { "CODEC(ZSTD)" }
}

/// A text as a literal of SQL.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    #[test]
    fn the_committed_tables_have_all_columns() {
        let mut text = Vec::new();
        write_clickhouse(&mut text).expect("memory takes every byte");
        golden::assert_is("../docs/fleet/clickhouse/rows.sql", &String::from_utf8(text).expect("SQL is text"));
    }

    #[test]
    fn the_columns_that_every_row_has_and_the_varied_texts_exist() {
        let columns: Vec<&str> =
            tables().iter().flat_map(|table| table.columns.iter().map(|column| column.name)).collect();
        for name in ALWAYS.iter().chain(VARIED) {
            assert!(columns.contains(name), "{name}");
        }
        for table in tables() {
            let names = table.sometimes.iter().chain([&table.time]);
            names.for_each(|name| assert!(table.columns.iter().any(|column| column.name == *name), "{name}"));
        }
    }

    #[test]
    fn quotes_of_meanings_do_not_end_a_literal() {
        assert_eq!(quoted(r"the host's \d"), r"'the host\'s \\d'");
    }
}
