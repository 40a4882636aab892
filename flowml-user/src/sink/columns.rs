//! The columns of rows: identifiers, features and the verdict, the same for every format.

use serde::Serialize;

use crate::features::{FLOW_FEATURES, Feature, FlowRow, HOST_FEATURES, HOST_IDENTIFIERS, HostWindow};
use crate::model::{Reason, Verdict, one_line};
use crate::record::{Clock, FLOW_IDENTIFIERS, Identifier, Value};

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// An identifier's value.
    Value(Value),
    /// A number that need not be whole; NaN where it is not defined.
    Real(f64),
    /// Both ends of a range.
    Range([f64; 2]),
}

/// Whole numbers up to here are exact as `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Cell {
    /// Whether there is no value.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Value(value) => *value == Value::Absent,
            Self::Real(number) => !number.is_finite(),
            Self::Range(_) => false,
        }
    }

    /// Appends the value as JSON has it. A row has more than a hundred, so whole numbers take the short way.
    pub(super) fn write_json(&self, line: &mut Vec<u8>) {
        match self {
            Self::Value(Value::Text(text)) => write_json(line, text),
            Self::Value(Value::Name(name)) => write_json(line, name),
            Self::Value(Value::Number(number)) => write_integer(line, *number),
            Self::Value(Value::Flag(flag)) => write_json(line, flag),
            Self::Real(number) if number.fract() == 0.0 && number.abs() <= EXACT => {
                write_integer(line, *number as i64);
            }
            Self::Real(number) if number.is_finite() => write_json(line, number),
            Self::Value(Value::Absent) | Self::Real(_) => line.extend_from_slice(b"null"),
            Self::Range([low, high]) => {
                line.push(b'[');
                Self::Real(*low).write_json(line);
                line.push(b',');
                Self::Real(*high).write_json(line);
                line.push(b']');
            }
        }
    }
}

fn write_integer(line: &mut Vec<u8>, integer: impl itoa::Integer) {
    line.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
}

fn write_json<T: Serialize + ?Sized>(line: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(line, value).expect("memory takes every byte");
}

/// A column of the verdict.
pub(super) struct VerdictColumn {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) of: fn(&Verdict) -> Cell,
}

const fn column(name: &'static str, meaning: &'static str, of: fn(&Verdict) -> Cell) -> VerdictColumn {
    VerdictColumn { name, meaning, of }
}

/// What the learner says of a row; nothing while it warms up.
pub(super) const VERDICT: [VerdictColumn; 5] = [
    column("cluster", "Number of the cluster that explains the row best", |verdict| {
        Cell::Value(Value::Number(verdict.cluster.into()))
    }),
    column("score", "How badly it does so: ½(d/σ)² − ln π", |verdict| Cell::Real(verdict.score)),
    column("probability", "Probability that an ordinary row scores as high", |verdict| Cell::Real(verdict.probability)),
    column("anomaly", "Whether the probability is below `--alpha`", |verdict| {
        Cell::Value(Value::Flag(verdict.anomaly))
    }),
    column("reason", "For an anomaly, the features that made it one, with value and typical range", |verdict| {
        Cell::Value(if verdict.reasons.is_empty() { Value::Absent } else { Value::Text(one_line(&verdict.reasons)) })
    }),
];

fn verdict_cells(verdict: Option<&Verdict>) -> impl Iterator<Item = (&'static str, Cell)> {
    VERDICT.iter().map(move |column| (column.name, verdict.map_or(Cell::Value(Value::Absent), column.of)))
}

/// What a column of the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// Its name: the key in JSON, the header in CSV.
    pub name: &'static str,
    /// The unit of its values; empty for names, numbers and flags.
    pub unit: &'static str,
    /// What it says, in one line.
    pub meaning: &'static str,
}

impl<T> From<&Identifier<T>> for OutputColumn {
    fn from(&Identifier { name, meaning, .. }: &Identifier<T>) -> Self {
        Self { name, unit: "", meaning }
    }
}

impl<T> From<&Feature<T>> for OutputColumn {
    fn from(&Feature { name, unit, meaning, .. }: &Feature<T>) -> Self {
        Self { name, unit, meaning }
    }
}

fn verdict_columns() -> impl Iterator<Item = OutputColumn> {
    VERDICT.iter().map(|&VerdictColumn { name, meaning, .. }| OutputColumn { name, unit: "", meaning })
}

/// The columns of a flow row, in their order.
pub fn flow_columns() -> impl Iterator<Item = OutputColumn> {
    let identifiers = FLOW_IDENTIFIERS.iter().map(OutputColumn::from);
    identifiers.chain(FLOW_FEATURES.iter().map(OutputColumn::from)).chain(verdict_columns())
}

/// The columns of a host row, in their order.
pub fn host_columns() -> impl Iterator<Item = OutputColumn> {
    let times = WINDOW.iter().map(|&WindowColumn { name, meaning, .. }| OutputColumn { name, unit: "ms", meaning });
    let identifiers = HOST_IDENTIFIERS.iter().map(OutputColumn::from);
    identifiers.chain(times).chain(HOST_FEATURES.iter().map(OutputColumn::from)).chain(verdict_columns())
}

fn identifier_cells<T>(table: &'static [Identifier<T>], unit: &T) -> impl Iterator<Item = (&'static str, Cell)> {
    table.iter().map(move |column| (column.name, Cell::Value((column.of)(unit))))
}

fn feature_cells<T>(table: &'static [Feature<T>], unit: &T) -> impl Iterator<Item = (&'static str, Cell)> {
    table.iter().map(move |column| (column.name, Cell::Real((column.of)(unit))))
}

/// A flow row.
pub(super) fn flow_cells(row: &FlowRow, verdict: Option<&Verdict>) -> impl Iterator<Item = (&'static str, Cell)> {
    let identifiers = identifier_cells(FLOW_IDENTIFIERS, &row.record);
    identifiers.chain(feature_cells(FLOW_FEATURES, row)).chain(verdict_cells(verdict))
}

/// The features that say when a flow was.
const FLOW_TIMES: [&str; 2] = ["bidirectional_first_seen_ms", "bidirectional_last_seen_ms"];

/// The row of a flow that is an anomaly: its flow row without what was measured.
pub(super) fn flow_anomaly_cells(row: &FlowRow, verdict: &Verdict) -> impl Iterator<Item = (&'static str, Cell)> {
    let subject = std::iter::once(("subject", Cell::Value(Value::Name("flow"))));
    let times = feature_cells(FLOW_FEATURES, row).filter(|(name, _)| FLOW_TIMES.contains(name));
    subject.chain(identifier_cells(FLOW_IDENTIFIERS, &row.record)).chain(times).chain(verdict_cells(Some(verdict)))
}

/// When a host window begins or ends.
pub(super) struct WindowColumn {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) of_ns: fn(&HostWindow) -> u64,
}

/// The times of a host window, Unix time in ms.
pub(super) const WINDOW: [WindowColumn; 2] = [
    WindowColumn { name: "window_start_ms", meaning: "Unix time of the window's begin", of_ns: |host| host.start_ns },
    WindowColumn { name: "window_end_ms", meaning: "Unix time of the window's end", of_ns: |host| host.end_ns },
];

fn window_cells(window: &HostWindow, clock: Clock) -> impl Iterator<Item = (&'static str, Cell)> {
    let times = WINDOW.iter().map(move |column| {
        let time_ms = clock.unix_ms((column.of_ns)(window));
        (column.name, Cell::Value(Value::Number(time_ms)))
    });
    identifier_cells(HOST_IDENTIFIERS, window).chain(times)
}

/// A host row.
pub(super) fn host_cells(
    window: &HostWindow,
    clock: Clock,
    verdict: Option<&Verdict>,
) -> impl Iterator<Item = (&'static str, Cell)> {
    window_cells(window, clock).chain(feature_cells(HOST_FEATURES, window)).chain(verdict_cells(verdict))
}

/// The row of a host that is an anomaly: its host row without what was measured.
pub(super) fn host_anomaly_cells(
    window: &HostWindow,
    clock: Clock,
    verdict: &Verdict,
) -> impl Iterator<Item = (&'static str, Cell)> {
    let subject = std::iter::once(("subject", Cell::Value(Value::Name("host"))));
    subject.chain(window_cells(window, clock)).chain(verdict_cells(Some(verdict)))
}

/// A reason of an anomaly.
pub(super) fn reason_cells(reason: &Reason) -> impl Iterator<Item = (&'static str, Cell)> {
    [
        ("feature", Cell::Value(Value::Name(reason.column))),
        ("unit", Cell::Value(Value::Name(reason.unit))),
        ("value", Cell::Real(reason.value)),
        ("typical", Cell::Range([reason.low, reason.high])),
        ("share", Cell::Real(reason.share)),
    ]
    .into_iter()
}
