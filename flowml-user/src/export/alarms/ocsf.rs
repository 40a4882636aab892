//! Incidents as Detection Findings of the Open Cybersecurity Schema Framework (OCSF 1.5).

use serde_json::{Map, Value, json};

use super::attack::VERSION as ATTACK_VERSION;
use super::event::{Event, texts};
use super::field::{Field, counted, field};
use crate::incident::State;

/// The version of the schema.
const VERSION: &str = "1.5.0";

/// The class Detection Finding.
const CLASS: u64 = 2004;

#[rustfmt::skip]
pub(super) const FIELDS: [Field; 32] = [
    field("category_uid", |_| 2.into(), "2"),
    field("category_name", |_| "Findings".into(), "`Findings`"),
    field("class_uid", |_| CLASS.into(), "2004"),
    field("class_name", |_| "Detection Finding".into(), "`Detection Finding`"),
    field("activity_id", |event| activity(event.state).0.into(), "1 when the incident is opened, 2 when it is named, 3 when it is closed"),
    field("activity_name", |event| activity(event.state).1.into(), "`Create`, `Update`, `Close`"),
    field("type_uid", |event| (CLASS * 100 + activity(event.state).0).into(), "200401, 200402 or 200403"),
    field("type_name", |event| format!("Detection Finding: {}", activity(event.state).1).into(), "`Detection Finding: Create` and so on"),
    field("time", |event| event.end_ms().into(), "Unix time of the end of the activity so far, ms"),
    field("start_time", |event| event.start_ms().into(), "Unix time of the start of the activity, ms"),
    field("end_time", |event| event.end_ms().into(), "the same as `time`"),
    field("duration", |event| event.end_ms().saturating_sub(event.start_ms()).into(), "`end_time` − `start_time`, ms"),
    field("message", |event| event.incident.summary().into(), "the incident in one sentence"),
    field("severity_id", |event| event.level().ocsf.0.into(), "severity of the incident ([severities](#severities))"),
    field("severity", |event| event.level().ocsf.1.into(), "name of the severity"),
    field("confidence_id", |event| event.level().confidence.0.into(), "confidence ([severities](#severities))"),
    field("confidence", |event| event.level().confidence.1.into(), "name of the confidence"),
    field("confidence_score", |event| ((event.incident.confidence() * 100.0) as u64).into(), "1 − the probability, in percent, rounded down"),
    field("status_id", |event| status(event.state).0.into(), "1 when the incident is opened, 2 when it is named, 4 when it is closed"),
    field("status", |event| status(event.state).1.into(), "`New`, `In Progress`, `Resolved`"),
    field("metadata.version", |_| VERSION.into(), "1.5.0"),
    field("metadata.product", |_| json!({"name": "flowml", "vendor_name": "flowml", "version": env!("CARGO_PKG_VERSION")}), "`name` and `vendor_name` are `flowml`; `version` is that of the agent"),
    field("metadata.loggers", |event| json!([logger(event)]), "the agent: `name` and `log_provider` are `flowml`, `log_name` is `incidents`, `uid` is its host"),
    field("finding_info.uid", |event| event.id().into(), "identifier of the incident: host, Unix time of the start of the run in ms (with `--state` of the first run), number of the incident"),
    field("finding_info.title", |event| event.incident.kind.name().into(), "kind of the incident"),
    field("finding_info.desc", |event| event.incident.summary().into(), "the same as `message`"),
    field("finding_info.first_seen_time", |event| event.start_ms().into(), "the same as `start_time`"),
    field("finding_info.last_seen_time", |event| event.end_ms().into(), "the same as `end_time`"),
    field("finding_info.attacks", attacks, "for kinds with an ATT&CK technique one object: `tactic`, `technique`, `sub_technique` (each with `uid` and `name`), `version`"),
    field("observables", observables, "first sources and targets, up to eight of each: `name` is `evidences.src_endpoint.ip` or `evidences.dst_endpoint.ip`, `type_id` is 2 (`IP Address`), `value` is the address"),
    field("evidences", |event| json!([evidence(event)]), "one object: `src_endpoint.ip` is the first source, `dst_endpoint.ip` the first target, `dst_endpoint.port` the port of the service, `connection_info.protocol_num` the protocol that a test counted; `data` has the counts `attempts`, `failures`, `packets`, `bytes`, `period_ms`, `host_windows` and `flows`"),
    field("unmapped", unmapped, "`incident` (its number), `kind`, `probability`, `sources_count`, `targets_count`"),
];

/// The number and name of the activity.
const fn activity(state: State) -> (u64, &'static str) {
    match state {
        State::Open => (1, "Create"),
        State::Named => (2, "Update"),
        State::Closed => (3, "Close"),
    }
}

/// The number and name of the status.
const fn status(state: State) -> (u64, &'static str) {
    match state {
        State::Open => (1, "New"),
        State::Named => (2, "In Progress"),
        State::Closed => (4, "Resolved"),
    }
}

fn logger(event: &Event<'_>) -> Value {
    let host = &event.sender.agent;
    json!({
        "name": "flowml", "log_name": "incidents", "log_provider": "flowml", "uid": host,
        "product": {"name": "flowml", "vendor_name": "flowml"},
    })
}

fn attacks(event: &Event<'_>) -> Value {
    let Some(technique) = event.technique() else { return Value::Null };
    let named = |id: &str, name: &str| json!({"uid": id, "name": name});
    let mut attack = json!({
        "version": ATTACK_VERSION,
        "tactic": named(technique.tactic.0, technique.tactic.1),
        "technique": named(technique.id, technique.name),
    });
    if let Some((id, name)) = technique.sub {
        attack["sub_technique"] = named(id, name);
    }
    json!([attack])
}

fn observables(event: &Event<'_>) -> Value {
    let named = |name: &'static str, addresses: Vec<String>| {
        let one = move |value: String| json!({"name": name, "type_id": 2, "type": "IP Address", "value": value});
        addresses.into_iter().map(one)
    };
    let sources = named("evidences.src_endpoint.ip", texts(&event.incident.sources));
    sources.chain(named("evidences.dst_endpoint.ip", texts(&event.incident.targets))).collect()
}

/// The first hosts, and what was counted. What the incident does not have is left out.
fn evidence(event: &Event<'_>) -> Value {
    let counts = &event.incident.evidence;
    let [source, target] = event.first();
    let port = counted(counts.port.into());
    let data = members([
        ("attempts", counted(counts.attempts)),
        ("failures", counted(counts.failures)),
        ("packets", counted(counts.packets)),
        ("bytes", counted(counts.bytes)),
        ("period_ms", counted(counts.period_ms)),
        ("host_windows", counted(event.incident.windows)),
        ("flows", counted(event.incident.flows)),
    ]);
    let number = counted(counts.protocol.into());
    let connection = members([("protocol_num", number), ("protocol_name", event.transport().into())]);
    members([
        ("src_endpoint", members([("ip", source.into())])),
        ("dst_endpoint", members([("ip", target.into()), ("port", port)])),
        // The direction is a required member; 0 is unknown.
        ("connection_info", if connection.is_null() { connection } else { with_direction(connection) }),
        ("data", data),
    ])
}

fn with_direction(mut connection: Value) -> Value {
    connection["direction_id"] = 0.into();
    connection
}

/// An object of the members that are not null; null if all are.
fn members<const N: usize>(all: [(&str, Value); N]) -> Value {
    let there = all.into_iter().filter(|(_, value)| !value.is_null());
    let object: Map<String, Value> = there.map(|(name, value)| (name.to_owned(), value)).collect();
    if object.is_empty() { Value::Null } else { Value::Object(object) }
}

fn unmapped(event: &Event<'_>) -> Value {
    let incident = event.incident;
    json!({
        "incident": incident.number,
        "kind": incident.kind.name(),
        "probability": incident.probability,
        "sources_count": incident.sources.count,
        "targets_count": incident.targets.count,
    })
}
