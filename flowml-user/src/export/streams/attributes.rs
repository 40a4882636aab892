//! A row as a `LogRecord` of OpenTelemetry (opentelemetry/proto/logs/v1/logs.proto), whose attributes are the columns.

use super::super::columns::{Cell, reason_cells};
use super::super::row::Row;
use super::protobuf::{content, double, fixed, integer, message};
use crate::process::unix_time::now_us;
use crate::record::Value;

/// The version of the semantic conventions of which the names are.
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

/// The columns for which the semantic conventions have another name.
const CONVENTIONS: [(&str, &str); 5] = [
    ("src_ip", "source.address"),
    ("src_port", "source.port"),
    ("dst_ip", "destination.address"),
    ("dst_port", "destination.port"),
    ("application_name", "network.protocol.name"),
];

/// The values of columns for which the semantic conventions have an attribute with a text. The columns are written as
/// well.
const TEXTS: [(&str, u64, &str, &str); 7] = [
    ("protocol", 1, "network.transport", "icmp"),
    ("protocol", 6, "network.transport", "tcp"),
    ("protocol", 17, "network.transport", "udp"),
    ("protocol", 58, "network.transport", "ipv6-icmp"),
    ("protocol", 132, "network.transport", "sctp"),
    ("ip_version", 4, "network.type", "ipv4"),
    ("ip_version", 6, "network.type", "ipv6"),
];

/// What is before the names of all other columns.
const OWN: &str = "flowml.";

/// The columns with the time of a row, Unix time in ms. Each kind of row has one of them.
const TIMES: [&str; 3] = ["bidirectional_last_seen_ms", "window_end_ms", "end_ms"];

/// The severities of a row (`SeverityNumber`).
const INFO: u64 = 9;
const WARN: u64 = 13;

/// Fields of `LogRecord`.
mod record {
    pub(super) const TIME: u64 = 1;
    pub(super) const SEVERITY: u64 = 2;
    pub(super) const BODY: u64 = 5;
    pub(super) const ATTRIBUTE: u64 = 6;
    pub(super) const OBSERVED: u64 = 11;
    pub(super) const EVENT_NAME: u64 = 12;
}

/// The field of `ScopeLogs` with records.
const LOG_RECORDS: u64 = 2;

/// Fields of `AnyValue`.
mod value {
    pub(super) const TEXT: u64 = 1;
    pub(super) const FLAG: u64 = 2;
    pub(super) const INTEGER: u64 = 3;
    pub(super) const DOUBLE: u64 = 4;
    pub(super) const ARRAY: u64 = 5;
    pub(super) const OBJECT: u64 = 6;
}

/// Appends a row as a field of `ScopeLogs`. A value that is not defined has no attribute.
pub(super) fn write_record<C: Iterator<Item = (&'static str, Cell)>>(
    bytes: &mut Vec<u8>,
    Row { kind, cells, reasons }: Row<'_, C>,
    sequence: u64,
) {
    message(bytes, LOG_RECORDS, |bytes| {
        let severity = if matches!(kind, "anomaly" | "incident") { WARN } else { INFO };
        begin(bytes, kind, severity, sequence);
        for (name, cell) in cells {
            if let (true, Cell::Value(Value::Number(time_ms))) = (TIMES.contains(&name), &cell) {
                fixed(bytes, record::TIME, time_ms.saturating_mul(1_000_000));
            }
            cell_attribute(bytes, record::ATTRIBUTE, name, &cell);
        }
        if let Some(reasons) = reasons.filter(|reasons| !reasons.is_empty()) {
            let name = [OWN, "reasons"].concat();
            attribute(bytes, record::ATTRIBUTE, &name, |bytes| {
                message(bytes, value::ARRAY, |bytes| {
                    for reason in reasons {
                        message(bytes, 1, |bytes| {
                            message(bytes, value::OBJECT, |bytes| {
                                reason_cells(reason).for_each(|(name, cell)| plain_attribute(bytes, 1, name, &cell));
                            });
                        });
                    }
                });
            });
        }
    });
}

/// Appends the summary: its body is the object of JSON lines.
pub(super) fn write_summary(bytes: &mut Vec<u8>, json: &[u8], sequence: u64) {
    message(bytes, LOG_RECORDS, |bytes| {
        begin(bytes, "summary", INFO, sequence);
        message(bytes, record::BODY, |bytes| content(bytes, value::TEXT, json));
    });
}

/// Appends what every record has.
fn begin(bytes: &mut Vec<u8>, kind: &str, severity: u64, sequence: u64) {
    fixed(bytes, record::OBSERVED, now_us().saturating_mul(1000));
    integer(bytes, record::SEVERITY, severity);
    content(bytes, record::EVENT_NAME, [OWN, kind].concat().as_bytes());
    attribute(bytes, record::ATTRIBUTE, &[OWN, "sequence"].concat(), |bytes| integer(bytes, value::INTEGER, sequence));
}

/// Appends the attributes for a column, if its value is defined.
fn cell_attribute(bytes: &mut Vec<u8>, field: u64, column: &str, cell: &Cell) {
    match CONVENTIONS.iter().find(|(own, _)| *own == column) {
        Some((_, name)) => plain_attribute(bytes, field, name, cell),
        None => plain_attribute(bytes, field, &[OWN, column].concat(), cell),
    }
    let is_this = |own: &str, number| own == column && *cell == Cell::Value(Value::Number(number));
    if let Some((.., name, text)) = TEXTS.iter().find(|(own, number, ..)| is_this(own, *number)) {
        text_attribute(bytes, field, name, text);
    }
}

fn plain_attribute(bytes: &mut Vec<u8>, field: u64, name: &str, cell: &Cell) {
    if !cell.is_absent() {
        attribute(bytes, field, name, |bytes| any_value(bytes, cell));
    }
}

/// Appends a `KeyValue`.
pub(super) fn attribute(bytes: &mut Vec<u8>, field: u64, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    message(bytes, field, |bytes| {
        content(bytes, 1, name.as_bytes());
        message(bytes, 2, write);
    });
}

/// Appends a `KeyValue` with a text.
pub(super) fn text_attribute(bytes: &mut Vec<u8>, field: u64, name: &str, text: &str) {
    attribute(bytes, field, name, |bytes| content(bytes, value::TEXT, text.as_bytes()));
}

/// Appends a `KeyValue` with a number.
pub(super) fn number_attribute(bytes: &mut Vec<u8>, field: u64, name: &str, number: u64) {
    attribute(bytes, field, name, |bytes| integer(bytes, value::INTEGER, number));
}

/// Appends the field of an `AnyValue`.
fn any_value(bytes: &mut Vec<u8>, cell: &Cell) {
    match cell {
        Cell::Value(Value::Text(text)) => content(bytes, value::TEXT, text.as_bytes()),
        Cell::Value(Value::Name(name)) => content(bytes, value::TEXT, name.as_bytes()),
        Cell::Value(Value::Number(number)) => integer(bytes, value::INTEGER, *number),
        Cell::Value(Value::Flag(flag)) => integer(bytes, value::FLAG, u64::from(*flag)),
        Cell::Value(Value::Absent) => {}
        Cell::Real(number) => double(bytes, value::DOUBLE, *number),
        Cell::List(numbers) => message(bytes, value::ARRAY, |bytes| {
            for number in numbers {
                // A number that is not defined is an empty value: null in JSON.
                message(bytes, 1, |bytes| {
                    if number.is_finite() {
                        double(bytes, value::DOUBLE, *number);
                    }
                });
            }
        }),
    }
}

/// The table of attributes, for docs/STREAMS.md.
#[cfg(test)]
pub(super) fn table() -> String {
    let same = CONVENTIONS.iter().map(|(column, name)| format!("| `{name}` | the column `{column}` |\n"));
    let texts = TEXTS
        .iter()
        .map(|(column, number, name, text)| format!("| `{name}` | `{text}` if the column `{column}` is {number} |\n"));
    let replaced = CONVENTIONS.len();
    let others =
        format!("| `{OWN}NAME` | the column `NAME`, for all columns except the first {replaced} of this table |\n");
    let rows: String = same.chain(texts).chain([others]).collect();
    format!("| attribute | value |\n| --- | --- |\n{rows}")
}
