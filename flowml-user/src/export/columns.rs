//! The columns of rows, the same for every format: identifiers, features and the verdict.

use serde::Serialize;

use crate::features::{
    AGGREGATE_FEATURES, AGGREGATE_IDENTIFIERS, Aggregate, FLOW_FEATURES, FLOW_SEQUENCES, Feature, FlowColumns, FlowRow,
    HOST_FEATURES, HOST_IDENTIFIERS, HostWindow, Learn, Of, Sequence,
};
use crate::incident::{Hosts, Incident, State};
use crate::learning::{Reason, Verdict, one_line};
use crate::record::{CONTENT_IDENTIFIERS, Clock, Content, FLOW_IDENTIFIERS, Identifier, Kind, Value};

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// An identifier's value.
    Value(Value),
    /// A real number; NaN if it is not defined.
    Real(f64),
    /// Several numbers: the two bounds of a range, or one value per packet.
    List(Vec<f64>),
}

/// The largest `f64` up to which every integer is exact: 2⁵³.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Cell {
    /// No value.
    pub(crate) const ABSENT: Self = Self::Value(Value::Absent);

    /// Whether there is no value.
    pub(super) fn is_absent(&self) -> bool {
        match self {
            Self::Value(value) => *value == Value::Absent,
            Self::Real(number) => !number.is_finite(),
            Self::List(_) => false,
        }
    }

    /// Appends the value as JSON. A row has more than a hundred values, so integers take a fast path.
    pub(super) fn write_json(&self, line: &mut Vec<u8>) {
        match self {
            Self::Value(Value::Text(text)) => write_json(line, text),
            Self::Value(Value::Name(name)) => write_json(line, name),
            Self::Value(Value::Number(number)) => write_integer(line, *number),
            Self::Value(Value::Flag(flag)) => write_json(line, flag),
            // `fract` is a function call on processors that may lack a rounding instruction.
            Self::Real(number) if *number as i64 as f64 == *number && number.abs() <= EXACT => {
                write_integer(line, *number as i64);
            }
            Self::Real(number) if number.is_finite() => write_json(line, number),
            Self::Value(Value::Absent) | Self::Real(_) => line.extend_from_slice(b"null"),
            Self::List(numbers) => {
                line.push(b'[');
                for (at, number) in numbers.iter().enumerate() {
                    if at > 0 {
                        line.push(b',');
                    }
                    Self::Real(*number).write_json(line);
                }
                line.push(b']');
            }
        }
    }
}

/// Appends an integer. Most numbers of a row have one digit, so that case is fast.
fn write_integer(line: &mut Vec<u8>, integer: impl itoa::Integer + Copy + TryInto<u8>) {
    match integer.try_into() {
        Ok(digit @ 0..=9) => line.push(b'0' + digit),
        _ => line.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes()),
    }
}

fn write_json<T: Serialize + ?Sized>(line: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(line, value).expect("memory takes every byte");
}

/// A column of the verdict.
pub(super) struct VerdictColumn {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) meaning: &'static str,
    pub(super) of: fn(&Verdict) -> Cell,
}

const fn column(name: &'static str, kind: Kind, meaning: &'static str, of: fn(&Verdict) -> Cell) -> VerdictColumn {
    VerdictColumn { name, kind, meaning, of }
}

/// The columns of the model's verdict. They are empty while the model warms up, and without a model.
pub(super) const VERDICT: [VerdictColumn; 6] = [
    column("cluster", Kind::Integer, "Number of the cluster that explains the row best", |verdict| {
        Cell::Value(Value::Number(verdict.cluster.into()))
    }),
    column("score", Kind::Real, "Distance from that cluster: ½(d/σ)² − ln π", |verdict| {
        Cell::Real(verdict.score)
    }),
    column("probability", Kind::Real, "Probability that a normal row scores at least as high", |verdict| {
        Cell::Real(verdict.probability)
    }),
    column("anomaly", Kind::Flag, "Whether the probability is below `--alpha`, and holds here", |verdict| {
        Cell::Value(Value::Flag(verdict.anomaly))
    }),
    column(
        "withheld",
        Kind::Flag,
        "Whether it would be an anomaly, but it is not known that the model's probabilities hold here",
        |verdict| Cell::Value(Value::Flag(verdict.withheld)),
    ),
    column(
        "reason",
        Kind::Text,
        "For an anomaly, the features that made it one, with value and typical range",
        |verdict| {
            Cell::Value(if verdict.reasons.is_empty() {
                Value::Absent
            } else {
                Value::Text(one_line(&verdict.reasons))
            })
        },
    ),
];

fn verdict_cells(verdict: Option<&Verdict>) -> impl Iterator<Item = (&'static str, Cell)> {
    VERDICT.iter().map(move |column| (column.name, verdict.map_or(Cell::ABSENT, column.of)))
}

/// The description of an output column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// Its name: the key in JSON, the header in CSV, the field in Parquet.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// The unit of its values; empty for names, numbers and flags.
    pub unit: &'static str,
    /// Its meaning, in one line.
    pub meaning: &'static str,
    /// How a model uses it.
    pub learn: Learn,
    /// Whether NFStream has the same quantity under the same name.
    pub nfstream: bool,
}

impl<T> From<&Identifier<T>> for OutputColumn {
    fn from(&Identifier { name, kind, meaning, nfstream, .. }: &Identifier<T>) -> Self {
        Self { name, kind, unit: "", meaning, learn: Learn::Never, nfstream }
    }
}

impl<T> From<&Feature<T>> for OutputColumn {
    fn from(feature: &Feature<T>) -> Self {
        let &Feature { name, unit, meaning, learn, nfstream, .. } = feature;
        Self { name, kind: feature.kind(), unit, meaning, learn, nfstream }
    }
}

impl<T> From<&Sequence<T>> for OutputColumn {
    fn from(&Sequence { name, kind, unit, meaning, .. }: &Sequence<T>) -> Self {
        Self { name, kind, unit, meaning, learn: Learn::Never, nfstream: true }
    }
}

impl From<&VerdictColumn> for OutputColumn {
    fn from(&VerdictColumn { name, kind, meaning, .. }: &VerdictColumn) -> Self {
        Self { name, kind, unit: "", meaning, learn: Learn::Never, nfstream: false }
    }
}

impl From<&WindowColumn> for OutputColumn {
    fn from(&WindowColumn { name, meaning, .. }: &WindowColumn) -> Self {
        Self { name, kind: Kind::Integer, unit: "ms", meaning, learn: Learn::Never, nfstream: false }
    }
}

/// The columns of a flow row, in their order.
pub fn flow_columns(of: FlowColumns) -> impl Iterator<Item = OutputColumn> {
    let identifiers = FLOW_IDENTIFIERS.iter().map(OutputColumn::from);
    let features = FLOW_FEATURES.iter().map(OutputColumn::from);
    let sequences = FLOW_SEQUENCES.iter().map(OutputColumn::from);
    let measured = identifiers.chain(features).chain(sequences);
    measured.chain(content_columns(of)).chain(VERDICT.iter().map(OutputColumn::from))
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
    kind: Kind::Text,
    unit: "",
    meaning: "`flow` or `host`",
    learn: Learn::Never,
    nfstream: false,
};

/// The columns of anomalies in a table shared by flows and hosts, in their order.
pub fn anomaly_columns() -> impl Iterator<Item = OutputColumn> {
    let flow = FLOW_IDENTIFIERS.iter().map(OutputColumn::from);
    let flow_times = FLOW_FEATURES.iter().filter(|column| FLOW_TIMES.contains(&column.name)).map(OutputColumn::from);
    let shared = |name| FLOW_IDENTIFIERS.iter().any(|column| column.name == name);
    let host = HOST_IDENTIFIERS.iter().filter(move |column| !shared(column.name)).map(OutputColumn::from);
    let window = WINDOW.iter().map(OutputColumn::from);
    let who = flow.chain(flow_times).chain(host).chain(window);
    std::iter::once(SUBJECT).chain(who).chain(VERDICT.iter().map(OutputColumn::from))
}

/// A column of incidents.
pub(super) struct IncidentColumn {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    meaning: &'static str,
    of: fn(State, &Incident, Clock) -> Cell,
}

const fn of_incident(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    meaning: &'static str,
    of: fn(State, &Incident, Clock) -> Cell,
) -> IncidentColumn {
    IncidentColumn { name, kind, unit, meaning, of }
}

const INCIDENT: [IncidentColumn; 24] = [
    of_incident("incident", Kind::Integer, "", "Number of the incident in this run, from 1", |_, incident, _| {
        whole(incident.number)
    }),
    of_incident(
        "state",
        Kind::Text,
        "",
        "`open` when it has begun, `named` when a test has found its kind, `closed` when it is over",
        |state, _, _| {
            Cell::Value(Value::Name(match state {
                State::Open => "open",
                State::Named => "named",
                State::Closed => "closed",
            }))
        },
    ),
    of_incident("kind", Kind::Text, "", "Kind of the incident: see DETECTION.md", |_, incident, _| {
        Cell::Value(Value::Name(incident.kind.name()))
    }),
    of_incident("technique", Kind::Text, "", "Technique of MITRE ATT&CK", |_, incident, _| {
        Cell::Value(incident.kind.technique().map_or(Value::Absent, Value::Name))
    }),
    of_incident("confidence", Kind::Real, "", "1 − the probability", |_, incident, _| {
        Cell::Real(incident.confidence())
    }),
    of_incident("summary", Kind::Text, "", "The incident in one sentence", |_, incident, _| {
        Cell::Value(Value::Text(incident.summary()))
    }),
    of_incident("start_ms", Kind::Integer, "ms", "Unix time of the start of its first window", |_, incident, clock| {
        whole(clock.unix_ms(incident.start_ns))
    }),
    of_incident(
        "end_ms",
        Kind::Integer,
        "ms",
        "Unix time of the end of its last window so far",
        |_, incident, clock| whole(clock.unix_ms(incident.end_ns)),
    ),
    of_incident("sources", Kind::Text, "", "First source hosts, separated by spaces", |_, incident, _| {
        named(&incident.sources)
    }),
    of_incident(
        "sources_count",
        Kind::Integer,
        "addresses",
        "Number of source hosts that were found",
        |_, incident, _| whole(incident.sources.count as u64),
    ),
    of_incident("targets", Kind::Text, "", "First target hosts, separated by spaces", |_, incident, _| {
        named(&incident.targets)
    }),
    of_incident(
        "targets_count",
        Kind::Integer,
        "addresses",
        "Number of target hosts that were found",
        |_, incident, _| whole(incident.targets.count as u64),
    ),
    of_incident("protocol", Kind::Integer, "", "IP protocol that a test counted", |_, incident, _| {
        counted(incident.evidence.protocol.into())
    }),
    of_incident(
        "service_port",
        Kind::Integer,
        "",
        "Port of the service that the incident concerns",
        |_, incident, _| counted(incident.evidence.port.into()),
    ),
    of_incident("attempts", Kind::Integer, "", "Ports or hosts that were tried, or connections", |_, incident, _| {
        counted(incident.evidence.attempts)
    }),
    of_incident("failures", Kind::Integer, "", "Failed ones among the attempts", |_, incident, _| {
        counted(incident.evidence.failures)
    }),
    of_incident("packets", Kind::Integer, "packets", "Packets that a test counted", |_, incident, _| {
        counted(incident.evidence.packets)
    }),
    of_incident("bytes", Kind::Integer, "bytes", "IP bytes of these packets", |_, incident, _| {
        counted(incident.evidence.bytes)
    }),
    of_incident(
        "period_ms",
        Kind::Integer,
        "ms",
        "Time between two connections of a beacon, or two tries of a slow scan",
        |_, incident, _| counted(incident.evidence.period_ms),
    ),
    of_incident("host_windows", Kind::Integer, "windows", "Host windows in it that are anomalies", |_, incident, _| {
        whole(incident.windows)
    }),
    of_incident("flows", Kind::Integer, "flows", "Flows of its hosts that are anomalies", |_, incident, _| {
        whole(incident.flows)
    }),
    of_incident(
        "probability",
        Kind::Real,
        "",
        "Of its least probable window; for a finding of a sequential test, the probability of a false alarm on normal traffic",
        |_, incident, _| Cell::Real(incident.probability),
    ),
    of_incident("severity", Kind::Real, "", "−log₁₀ of the probability", |_, incident, _| {
        Cell::Real(incident.severity())
    }),
    of_incident("reason", Kind::Text, "", "What made that window an anomaly", |_, incident, _| {
        Cell::Value(Value::Text(one_line(&incident.reasons)))
    }),
];

/// A count of a sequential test. 0 becomes no value: the test does not count this.
fn counted(number: u64) -> Cell {
    Cell::Value(if number == 0 { Value::Absent } else { Value::Number(number) })
}

fn whole(number: u64) -> Cell {
    Cell::Value(Value::Number(number))
}

fn named(hosts: &Hosts) -> Cell {
    let texts: Vec<String> = hosts.named.iter().map(|address| address.to_ip().to_string()).collect();
    Cell::Value(if texts.is_empty() { Value::Absent } else { Value::Text(texts.join(" ")) })
}

/// The columns of an incident, in their order.
pub fn incident_columns() -> impl Iterator<Item = OutputColumn> {
    INCIDENT.iter().map(|&IncidentColumn { name, kind, unit, meaning, .. }| OutputColumn {
        name,
        kind,
        unit,
        meaning,
        learn: Learn::Never,
        nfstream: false,
    })
}

/// The row of an incident.
pub(super) fn incident_cells(
    state: State,
    incident: &Incident,
    clock: Clock,
) -> impl Iterator<Item = (&'static str, Cell)> {
    INCIDENT.iter().map(move |column| (column.name, (column.of)(state, incident, clock)))
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
    let identifiers = identifier_cells(FLOW_IDENTIFIERS, &row.record);
    let measured = feature_cells(FLOW_FEATURES, row).chain(sequence_cells(FLOW_SEQUENCES, row));
    let content = row.record.content.iter().flat_map(|content| content_cells(row, content));
    identifiers.chain(measured).chain(content).chain(verdict_cells(verdict))
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
    subject.chain(identifier_cells(FLOW_IDENTIFIERS, &row.record)).chain(times).chain(verdict_cells(Some(verdict)))
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

/// A reason of an anomaly.
pub(super) fn reason_cells(reason: &Reason) -> impl Iterator<Item = (&'static str, Cell)> {
    [
        ("feature", Cell::Value(Value::Name(reason.column))),
        ("unit", Cell::Value(Value::Name(reason.unit))),
        ("value", Cell::Real(reason.value)),
        ("typical", Cell::List(vec![reason.low, reason.high])),
        ("share", Cell::Real(reason.share)),
    ]
    .into_iter()
}
