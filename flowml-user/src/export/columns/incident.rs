//! The columns of incidents.

use self::Of::{Count, Real, Tested, Text, Time};
use super::cell::Cell;
use super::column::OutputColumn;
use crate::features::Learn;
use crate::incident::{Hosts, Incident, State};
use crate::learning::one_line;
use crate::record::{Clock, Value, ValueType};

/// A column of incidents.
struct IncidentColumn {
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
    of: Of,
}

/// The values of a column. Its variant gives their type.
enum Of {
    /// A count that every incident has.
    Count(fn(&Incident) -> u64),
    /// A count of a sequential test. 0 becomes no value: the test does not count this.
    Tested(fn(&Incident) -> u64),
    /// A time of the capture's clock in ns, written as Unix time in ms.
    Time(fn(&Incident) -> u64),
    Real(fn(&Incident) -> f64),
    Text(fn(State, &Incident) -> Value),
}

impl Of {
    const fn kind(&self) -> ValueType {
        match self {
            Self::Count(_) | Self::Tested(_) | Self::Time(_) => ValueType::Integer,
            Self::Real(_) => ValueType::Real,
            Self::Text(_) => ValueType::Text,
        }
    }

    fn cell(&self, state: State, incident: &Incident, clock: Clock) -> Cell {
        match self {
            Self::Count(of) => Cell::Value(Value::Number(of(incident))),
            Self::Tested(of) => Cell::Value(match of(incident) {
                0 => Value::Absent,
                number => Value::Number(number),
            }),
            Self::Time(of) => Cell::Value(Value::Number(clock.unix_ms(of(incident)))),
            Self::Real(of) => Cell::Real(of(incident)),
            Self::Text(of) => Cell::Value(of(state, incident)),
        }
    }
}

const fn column(name: &'static str, unit: &'static str, of: Of, meaning: &'static str) -> IncidentColumn {
    IncidentColumn { name, unit, meaning, of }
}

#[rustfmt::skip]
const INCIDENT: [IncidentColumn; 24] = [
    column("incident", "", Count(|incident| incident.number),
        "Number of the incident in this run, from 1"),
    column("state", "", Text(|state, _| Value::Name(name_of(state))),
        "`open` at its start, `named` when a test determines its kind later, `closed` at its end"),
    column("kind", "", Text(|_, incident| Value::Name(incident.kind.name())),
        "Kind of the incident: see DETECTION.md"),
    column("technique", "", Text(|_, incident| incident.kind.technique().map_or(Value::Absent, Value::Name)),
        "Technique of MITRE ATT&CK"),
    column("confidence", "", Real(Incident::confidence),
        "1 − the probability"),
    column("summary", "", Text(|_, incident| Value::Text(incident.summary())),
        "The incident in one sentence"),
    column("start_ms", "ms", Time(|incident| incident.start_ns),
        "Unix time of the start of its first window"),
    column("end_ms", "ms", Time(|incident| incident.end_ns),
        "Unix time of the end of its last window so far"),
    column("sources", "", Text(|_, incident| named(&incident.sources)),
        "First source hosts, separated by spaces"),
    column("sources_count", "addresses", Count(|incident| incident.sources.count as u64),
        "Number of source hosts that were found"),
    column("targets", "", Text(|_, incident| named(&incident.targets)),
        "First target hosts, separated by spaces"),
    column("targets_count", "addresses", Count(|incident| incident.targets.count as u64),
        "Number of target hosts that were found"),
    column("protocol", "", Tested(|incident| incident.evidence.protocol.into()),
        "IP protocol that a test counted"),
    column("service_port", "", Tested(|incident| incident.evidence.port.into()),
        "Port of the service that the incident concerns"),
    column("attempts", "", Tested(|incident| incident.evidence.attempts),
        "Number of tried ports or hosts, or of connections"),
    column("failures", "", Tested(|incident| incident.evidence.failures),
        "Number of attempts that failed"),
    column("packets", "packets", Tested(|incident| incident.evidence.packets),
        "Packets that a test counted"),
    column("bytes", "bytes", Tested(|incident| incident.evidence.bytes),
        "IP bytes of these packets"),
    column("period_ms", "ms", Tested(|incident| incident.evidence.period_ms),
        "Time between two connections of a beacon, or two tries of a slow scan"),
    column("host_windows", "windows", Count(|incident| incident.windows),
        "Anomalous host windows of the incident"),
    column("flows", "flows", Count(|incident| incident.flows),
        "Anomalous flows of its hosts"),
    column("probability", "", Real(|incident| incident.probability),
        "Probability of its least probable window; for a sequential test, the probability of a false alarm on normal traffic"),
    column("severity", "", Real(Incident::severity),
        "−log₁₀ of the probability"),
    column("reason", "", Text(|_, incident| Value::Text(one_line(&incident.reasons))),
        "The features that made the least probable window an anomaly"),
];

const fn name_of(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Named => "named",
        State::Closed => "closed",
    }
}

fn named(hosts: &Hosts) -> Value {
    let texts: Vec<String> = hosts.named.iter().map(|address| address.to_ip().to_string()).collect();
    if texts.is_empty() { Value::Absent } else { Value::Text(texts.join(" ")) }
}

/// The columns of an incident, in their order.
pub fn incident_columns() -> impl Iterator<Item = OutputColumn> {
    INCIDENT.iter().map(|IncidentColumn { name, unit, meaning, of }| OutputColumn {
        name,
        kind: of.kind(),
        unit,
        meaning,
        learn: Learn::Never,
        nfstream: false,
    })
}

/// The row of an incident.
pub(in crate::export) fn incident_cells(
    state: State,
    incident: &Incident,
    clock: Clock,
) -> impl Iterator<Item = (&'static str, Cell)> {
    INCIDENT.iter().map(move |column| (column.name, column.of.cell(state, incident, clock)))
}
