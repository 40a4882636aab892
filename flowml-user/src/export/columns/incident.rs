//! The columns of incidents.

use super::cell::Cell;
use super::column::OutputColumn;
use crate::features::Learn;
use crate::incident::{Hosts, Incident, State};
use crate::learning::one_line;
use crate::record::{Clock, Value, ValueType};

/// A column of incidents.
struct IncidentColumn {
    name: &'static str,
    kind: ValueType,
    unit: &'static str,
    meaning: &'static str,
    of: fn(State, &Incident, Clock) -> Cell,
}

const fn of_incident(
    name: &'static str,
    kind: ValueType,
    unit: &'static str,
    meaning: &'static str,
    of: fn(State, &Incident, Clock) -> Cell,
) -> IncidentColumn {
    IncidentColumn { name, kind, unit, meaning, of }
}

const INCIDENT: [IncidentColumn; 24] = [
    of_incident("incident", ValueType::Integer, "", "Number of the incident in this run, from 1", |_, incident, _| {
        whole(incident.number)
    }),
    of_incident(
        "state",
        ValueType::Text,
        "",
        "`open` at its start, `named` when a test determines its kind later, `closed` at its end",
        |state, _, _| {
            Cell::Value(Value::Name(match state {
                State::Open => "open",
                State::Named => "named",
                State::Closed => "closed",
            }))
        },
    ),
    of_incident("kind", ValueType::Text, "", "Kind of the incident: see DETECTION.md", |_, incident, _| {
        Cell::Value(Value::Name(incident.kind.name()))
    }),
    of_incident("technique", ValueType::Text, "", "Technique of MITRE ATT&CK", |_, incident, _| {
        Cell::Value(incident.kind.technique().map_or(Value::Absent, Value::Name))
    }),
    of_incident("confidence", ValueType::Real, "", "1 − the probability", |_, incident, _| {
        Cell::Real(incident.confidence())
    }),
    of_incident("summary", ValueType::Text, "", "The incident in one sentence", |_, incident, _| {
        Cell::Value(Value::Text(incident.summary()))
    }),
    of_incident(
        "start_ms",
        ValueType::Integer,
        "ms",
        "Unix time of the start of its first window",
        |_, incident, clock| whole(clock.unix_ms(incident.start_ns)),
    ),
    of_incident(
        "end_ms",
        ValueType::Integer,
        "ms",
        "Unix time of the end of its last window so far",
        |_, incident, clock| whole(clock.unix_ms(incident.end_ns)),
    ),
    of_incident("sources", ValueType::Text, "", "First source hosts, separated by spaces", |_, incident, _| {
        named(&incident.sources)
    }),
    of_incident(
        "sources_count",
        ValueType::Integer,
        "addresses",
        "Number of source hosts that were found",
        |_, incident, _| whole(incident.sources.count as u64),
    ),
    of_incident("targets", ValueType::Text, "", "First target hosts, separated by spaces", |_, incident, _| {
        named(&incident.targets)
    }),
    of_incident(
        "targets_count",
        ValueType::Integer,
        "addresses",
        "Number of target hosts that were found",
        |_, incident, _| whole(incident.targets.count as u64),
    ),
    of_incident("protocol", ValueType::Integer, "", "IP protocol that a test counted", |_, incident, _| {
        counted(incident.evidence.protocol.into())
    }),
    of_incident(
        "service_port",
        ValueType::Integer,
        "",
        "Port of the service that the incident concerns",
        |_, incident, _| counted(incident.evidence.port.into()),
    ),
    of_incident(
        "attempts",
        ValueType::Integer,
        "",
        "Number of tried ports or hosts, or of connections",
        |_, incident, _| counted(incident.evidence.attempts),
    ),
    of_incident("failures", ValueType::Integer, "", "Number of attempts that failed", |_, incident, _| {
        counted(incident.evidence.failures)
    }),
    of_incident("packets", ValueType::Integer, "packets", "Packets that a test counted", |_, incident, _| {
        counted(incident.evidence.packets)
    }),
    of_incident("bytes", ValueType::Integer, "bytes", "IP bytes of these packets", |_, incident, _| {
        counted(incident.evidence.bytes)
    }),
    of_incident(
        "period_ms",
        ValueType::Integer,
        "ms",
        "Time between two connections of a beacon, or two tries of a slow scan",
        |_, incident, _| counted(incident.evidence.period_ms),
    ),
    of_incident(
        "host_windows",
        ValueType::Integer,
        "windows",
        "Anomalous host windows of the incident",
        |_, incident, _| whole(incident.windows),
    ),
    of_incident("flows", ValueType::Integer, "flows", "Anomalous flows of its hosts", |_, incident, _| {
        whole(incident.flows)
    }),
    of_incident(
        "probability",
        ValueType::Real,
        "",
        "Probability of its least probable window; for a sequential test, the probability of a false alarm on normal traffic",
        |_, incident, _| Cell::Real(incident.probability),
    ),
    of_incident("severity", ValueType::Real, "", "−log₁₀ of the probability", |_, incident, _| {
        Cell::Real(incident.severity())
    }),
    of_incident(
        "reason",
        ValueType::Text,
        "",
        "The features that made the least probable window an anomaly",
        |_, incident, _| Cell::Value(Value::Text(one_line(&incident.reasons))),
    ),
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
pub(in crate::export) fn incident_cells(
    state: State,
    incident: &Incident,
    clock: Clock,
) -> impl Iterator<Item = (&'static str, Cell)> {
    INCIDENT.iter().map(move |column| (column.name, (column.of)(state, incident, clock)))
}
