//! The columns of rows, the same for every format: identifiers, features and the verdict.

mod cell;
mod column;
mod incident;
mod statistics;
mod verdict;

pub(crate) use self::cell::Cell;
pub use self::column::OutputColumn;
pub(super) use self::incident::incident_cells;
pub use self::incident::incident_columns;
pub(super) use self::statistics::statistics_cells;
pub use self::statistics::statistics_columns;
pub(super) use self::verdict::{VERDICT, reason_cells};

use self::verdict::verdict_cells;
use crate::features::{
    AGGREGATE_FEATURES, AGGREGATE_IDENTIFIERS, Aggregate, FLOW_FEATURES, FLOW_SEQUENCES, Feature, FlowColumns, FlowRow,
    HOST_FEATURES, HOST_IDENTIFIERS, HostWindow, Learn, Of, RowColumns, Sequence,
};
use crate::learning::Verdict;
use crate::record::{
    CONTENT_IDENTIFIERS, Clock, Content, FLOW_IDENTIFIERS, Identifier, TUNNEL_IDENTIFIERS, Value, ValueType,
};

impl From<&WindowColumn> for OutputColumn {
    fn from(&WindowColumn { name, meaning, .. }: &WindowColumn) -> Self {
        Self { name, kind: ValueType::Integer, unit: "ms", meaning, learn: Learn::Never, nfstream: false }
    }
}

/// The columns of a flow row, in their order.
pub fn flow_columns(of: impl Into<RowColumns>) -> impl Iterator<Item = OutputColumn> {
    let of = of.into();
    let identifiers = FLOW_IDENTIFIERS.iter().map(OutputColumn::from).chain(tunnel_columns(of));
    let features = FLOW_FEATURES.iter().map(OutputColumn::from);
    let sequences = FLOW_SEQUENCES.iter().map(OutputColumn::from);
    let measured = identifiers.chain(features).chain(sequences);
    measured.chain(content_columns(of.flows)).chain(VERDICT.iter().map(OutputColumn::from))
}

/// The flow columns of the tunnel, after the other identifiers. None if the run does not look into tunnels.
pub fn tunnel_columns(of: RowColumns) -> impl Iterator<Item = OutputColumn> {
    let identifiers = if of.tunnels { TUNNEL_IDENTIFIERS } else { &[] };
    identifiers.iter().map(OutputColumn::from)
}

/// The flow columns that are derived from payload content.
pub fn content_columns(of: FlowColumns) -> impl Iterator<Item = OutputColumn> {
    let identifiers = if of == FlowColumns::Headers { &[] } else { CONTENT_IDENTIFIERS };
    identifiers.iter().map(OutputColumn::from).chain(of.content_features().map(|feature| (&feature).into()))
}

/// The columns of a host row, in their order.
pub fn host_columns() -> impl Iterator<Item = OutputColumn> {
    let identifiers = HOST_IDENTIFIERS.iter().map(OutputColumn::from);
    let times = WINDOW.iter().map(OutputColumn::from);
    let features = HOST_FEATURES.iter().map(OutputColumn::from);
    identifiers.chain(times).chain(features).chain(VERDICT.iter().map(OutputColumn::from))
}

/// The columns of an aggregate record, in their order.
pub fn aggregate_columns() -> impl Iterator<Item = OutputColumn> {
    AGGREGATE_IDENTIFIERS.iter().map(OutputColumn::from).chain(AGGREGATE_FEATURES.iter().map(OutputColumn::from))
}

/// An aggregate record.
pub(super) fn aggregate_cells(aggregate: &Aggregate) -> impl Iterator<Item = (&'static str, Cell)> {
    identifier_cells(AGGREGATE_IDENTIFIERS, aggregate).chain(feature_cells(AGGREGATE_FEATURES, aggregate))
}

/// Whether an anomaly is a flow or a host.
const SUBJECT: OutputColumn = OutputColumn {
    name: "subject",
    kind: ValueType::Text,
    unit: "",
    meaning: "`flow` or `host`",
    learn: Learn::Never,
    nfstream: false,
};

/// The columns of anomalies in a table shared by flows and hosts, in their order.
pub fn anomaly_columns(of: impl Into<RowColumns>) -> impl Iterator<Item = OutputColumn> {
    let flow = FLOW_IDENTIFIERS.iter().map(OutputColumn::from).chain(tunnel_columns(of.into()));
    let flow_times = FLOW_FEATURES.iter().filter(|column| FLOW_TIMES.contains(&column.name)).map(OutputColumn::from);
    let shared = |name| FLOW_IDENTIFIERS.iter().any(|column| column.name == name);
    let host = HOST_IDENTIFIERS.iter().filter(move |column| !shared(column.name)).map(OutputColumn::from);
    let window = WINDOW.iter().map(OutputColumn::from);
    let who = flow.chain(flow_times).chain(host).chain(window);
    std::iter::once(SUBJECT).chain(who).chain(VERDICT.iter().map(OutputColumn::from))
}

fn identifier_cells<T>(table: &'static [Identifier<T>], unit: &T) -> impl Iterator<Item = (&'static str, Cell)> {
    table.iter().map(move |column| (column.name, Cell::Value((column.of)(unit))))
}

fn feature_cells<T>(table: &'static [Feature<T>], unit: &T) -> impl Iterator<Item = (&'static str, Cell)> {
    table.iter().map(move |column| feature_cell(column, unit))
}

fn feature_cell<T>(column: &Feature<T>, unit: &T) -> (&'static str, Cell) {
    let cell = match column.of {
        Of::Count(of) => Cell::Value(Value::Number(of(unit))),
        Of::Real(of) => Cell::Real(of(unit)),
        Of::Bit(of, bit) => Cell::Value(Value::Number(of(unit) >> bit & 1)),
    };
    (column.name, cell)
}

fn sequence_cells<T>(table: &'static [Sequence<T>], unit: &T) -> impl Iterator<Item = (&'static str, Cell)> {
    table.iter().map(move |column| (column.name, Cell::List((column.of)(unit).to_vec())))
}

/// A flow row.
pub(super) fn flow_cells(row: &FlowRow, verdict: Option<&Verdict>) -> impl Iterator<Item = (&'static str, Cell)> {
    let identifiers = flow_identifier_cells(row);
    let measured = feature_cells(FLOW_FEATURES, row).chain(sequence_cells(FLOW_SEQUENCES, row));
    let content = row.record.content.iter().flat_map(|content| content_cells(row, content));
    identifiers.chain(measured).chain(content).chain(verdict_cells(verdict))
}

/// The identifiers of a flow, with those of its tunnel if the run looks into tunnels.
fn flow_identifier_cells(row: &FlowRow) -> impl Iterator<Item = (&'static str, Cell)> {
    let tunnel = row.record.tunnel.iter().flat_map(|_| identifier_cells(TUNNEL_IDENTIFIERS, &row.record));
    identifier_cells(FLOW_IDENTIFIERS, &row.record).chain(tunnel)
}

/// The columns of a flow row that are derived from its content.
fn content_cells(row: &FlowRow, content: &Content) -> impl Iterator<Item = (&'static str, Cell)> {
    let features = FlowColumns::Content(content.match_columns).content_features();
    identifier_cells(CONTENT_IDENTIFIERS, &row.record).chain(features.map(|column| feature_cell(&column, row)))
}

/// The features that give the times of a flow.
const FLOW_TIMES: [&str; 2] = ["bidirectional_first_seen_ms", "bidirectional_last_seen_ms"];

/// The row of a flow that is an anomaly: its flow row without the measurements.
pub(super) fn flow_anomaly_cells(row: &FlowRow, verdict: &Verdict) -> impl Iterator<Item = (&'static str, Cell)> {
    let subject = std::iter::once((SUBJECT.name, Cell::Value(Value::Name("flow"))));
    let times = feature_cells(FLOW_FEATURES, row).filter(|(name, _)| FLOW_TIMES.contains(name));
    subject.chain(flow_identifier_cells(row)).chain(times).chain(verdict_cells(Some(verdict)))
}

/// A time of a host window: its start or end.
pub(super) struct WindowColumn {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) of_ns: fn(&HostWindow) -> u64,
}

/// The times of a host window, Unix time in ms.
pub(super) const WINDOW: [WindowColumn; 2] = [
    WindowColumn { name: "window_start_ms", meaning: "Unix time of the window's start", of_ns: |host| host.start_ns },
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

/// The row of a host that is an anomaly: its host row without the measurements.
pub(super) fn host_anomaly_cells(
    window: &HostWindow,
    clock: Clock,
    verdict: &Verdict,
) -> impl Iterator<Item = (&'static str, Cell)> {
    let subject = std::iter::once((SUBJECT.name, Cell::Value(Value::Name("host"))));
    subject.chain(window_cells(window, clock)).chain(verdict_cells(Some(verdict)))
}
