//! Incidents in the Elastic Common Schema (ECS 8.17).

use serde_json::{Value, json};

use super::attack::Technique;
use super::event::{Event, texts, time};
use super::field::{Field, counted, field};
use crate::incident::State;

/// The version of the schema.
const VERSION: &str = "8.17.0";

#[rustfmt::skip]
pub(super) const FIELDS: [Field; 50] = [
    field("@timestamp", |event| time(event.end_ms()).into(), "end of the activity of the incident so far"),
    field("ecs.version", |_| VERSION.into(), "8.17.0"),
    field("message", |event| event.incident.summary().into(), "the incident in one sentence"),
    field("event.kind", |_| "alert".into(), "`alert`"),
    field("event.category", |_| json!(["intrusion_detection", "network"]), "`intrusion_detection`, `network`"),
    field("event.type", |event| json!([type_of(event.state)]), "`start` when the incident is opened, `info` when it is named, `end` when it is closed"),
    field("event.action", |event| format!("incident-{}", event.name()).into(), "`incident-opened`, `incident-named` or `incident-closed`"),
    field("event.module", |_| "flowml".into(), "`flowml`"),
    field("event.dataset", |_| "flowml.incident".into(), "`flowml.incident`"),
    field("event.provider", |_| "flowml".into(), "`flowml`"),
    field("event.id", |event| format!("{}-{}", event.id(), event.name()).into(), "identifier of the event: that of the incident, with `-opened`, `-named` or `-closed`"),
    field("event.severity", |event| event.level().ecs.into(), "severity of the incident ([severities](#severities))"),
    field("event.risk_score", |event| (event.incident.severity().min(10.0) * 10.0).round().into(), "−10 log₁₀ of the probability, at most 100"),
    field("event.start", |event| time(event.start_ms()).into(), "start of the activity of the incident"),
    field("event.end", |event| if event.is_closed() { time(event.end_ms()).into() } else { Value::Null }, "end of the activity, when the incident is closed"),
    field("event.duration", |event| event.incident.end_ns.saturating_sub(event.incident.start_ns).into(), "time from the start to the end of the activity so far, ns"),
    field("rule.name", |event| event.incident.kind.name().into(), "kind of the incident"),
    field("rule.category", |_| "flowml".into(), "`flowml`"),
    field("rule.reference", |event| event.technique().map(Technique::url).into(), "page about the ATT&CK technique"),
    field("threat.framework", |event| event.technique().map(|_| "MITRE ATT&CK").into(), "`MITRE ATT&CK`"),
    field("threat.tactic.id", |event| list(event.technique().map(|technique| technique.tactic.0)), "number of the tactic"),
    field("threat.tactic.name", |event| list(event.technique().map(|technique| technique.tactic.1)), "name of the tactic"),
    field("threat.technique.id", |event| list(event.technique().map(|technique| technique.id)), "number of the technique"),
    field("threat.technique.name", |event| list(event.technique().map(|technique| technique.name)), "name of the technique"),
    field("threat.technique.subtechnique.id", |event| list(sub(event).map(|(id, _)| id)), "number of the sub-technique"),
    field("threat.technique.subtechnique.name", |event| list(sub(event).map(|(_, name)| name)), "name of the sub-technique"),
    field("source.ip", |event| event.first()[0].clone().into(), "the first source"),
    field("destination.ip", |event| event.first()[1].clone().into(), "the first target"),
    field("destination.port", |event| counted(event.incident.evidence.port.into()), "port of the service"),
    field("network.transport", |event| event.transport().into(), "protocol that a test counted"),
    field("network.iana_number", |event| match event.incident.evidence.protocol { 0 => Value::Null, number => number.to_string().into() }, "IANA number of the protocol that a test counted"),
    field("network.packets", |event| counted(event.incident.evidence.packets), "packets that a test counted"),
    field("network.bytes", |event| counted(event.incident.evidence.bytes), "IP bytes that a test counted"),
    field("related.ip", |event| event.hosts().into(), "first sources and targets, up to eight of each"),
    field("observer.hostname", |event| event.sender.agent.clone().into(), "host of the agent"),
    field("observer.product", |_| "flowml".into(), "`flowml`"),
    field("observer.vendor", |_| "flowml".into(), "`flowml`"),
    field("observer.type", |_| "sensor".into(), "`sensor`"),
    field("observer.version", |_| env!("CARGO_PKG_VERSION").into(), "version of the agent"),
    field("flowml.incident.id", |event| event.id().into(), "identifier of the incident: host, Unix time of the start of the run in ms (with `--state` of the first run), number of the incident"),
    field("flowml.incident.number", |event| event.incident.number.into(), "number of the incident"),
    field("flowml.incident.probability", |event| event.incident.probability.into(), "probability of such an incident in normal traffic"),
    field("flowml.incident.confidence", |event| event.incident.confidence().into(), "1 − the probability"),
    field("flowml.incident.sources", |event| texts(&event.incident.sources).into(), "first sources, up to eight"),
    field("flowml.incident.sources_count", |event| event.incident.sources.count.into(), "number of sources"),
    field("flowml.incident.targets", |event| texts(&event.incident.targets).into(), "first targets, up to eight"),
    field("flowml.incident.targets_count", |event| event.incident.targets.count.into(), "number of targets"),
    field("flowml.incident.attempts", |event| counted(event.incident.evidence.attempts), "number of tried ports or hosts, or of connections"),
    field("flowml.incident.failures", |event| counted(event.incident.evidence.failures), "number of attempts that failed"),
    field("flowml.incident.period_ms", |event| counted(event.incident.evidence.period_ms), "time between two connections of a beacon, or two tries of a slow scan"),
];

/// The type of the event (the allowed values of the two categories).
const fn type_of(state: State) -> &'static str {
    match state {
        State::Open => "start",
        State::Named => "info",
        State::Closed => "end",
    }
}

fn sub(event: &Event<'_>) -> Option<(&'static str, &'static str)> {
    event.technique()?.sub
}

/// A list of one text, as the schema has it.
fn list(text: Option<&'static str>) -> Value {
    text.map_or(Value::Null, |text| json!([text]))
}
