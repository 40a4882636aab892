//! An event in one of the formats.

use serde_json::json;

use super::super::columns::Cell;
use super::super::jsonl;
use super::super::target::Format;
use super::event::Event;
use super::field::object;
use super::{ecs, ocsf};
use crate::record::Value;

/// The event in this format, without a line feed.
pub(super) fn body(format: Format, event: &Event<'_>) -> String {
    match format {
        Format::Text => event.sentence(),
        Format::Json => own(event),
        Format::Ecs => object(&ecs::FIELDS, event).to_string(),
        Format::Ocsf => object(&ocsf::FIELDS, event).to_string(),
        Format::Slack => json!({ "text": event.sentence() }).to_string(),
    }
}

/// The row of JSON lines, with the agent's host and the identifier of the incident.
fn own(event: &Event<'_>) -> String {
    let text = |text: String| Cell::Value(Value::Text(text));
    let sender = [("agent", text(event.sender.agent.clone())), ("id", text(event.id()))];
    let mut line = Vec::new();
    jsonl::write_incident(&mut line, event.state, event.incident, event.clock, sender);
    line.pop();
    String::from_utf8(line).expect("a row of JSON is text")
}
