//! The form of an event as a syslog message: for servers (RFC 5424), and for the socket of this host (RFC 3164).

use std::process;

use super::super::target::Format;
use super::body::body;
use super::event::{Event, texts, time};

/// The facility of system daemons (RFC 5424 §6.2.1).
const FACILITY: u8 = 3;

/// The identifier of flowml's structured data. The number is that of RFC 5612 for documentation, as in IPFIX elements.
const DATA: &str = "flowml@32473";

/// The message of an event for a server.
pub(super) fn message(format: Format, event: &Event<'_>) -> String {
    let priority = priority(event);
    let (time, host, process) = (time(event.end_ms()), header(&event.sender.agent, 255), process::id());
    format!("<{priority}>1 {time} {host} flowml {process} incident {} {}", data(event), body(format, event))
}

/// The message of an event for the socket of this host. The journal and syslog servers read there only what the C library
/// writes: priority, tag and text. The time and the host are those of the reader.
pub(super) fn local_message(format: Format, event: &Event<'_>) -> String {
    format!("<{}>flowml[{}]: {}", priority(event), process::id(), body(format, event))
}

fn priority(event: &Event<'_>) -> u8 {
    FACILITY * 8 + event.level().syslog
}

/// The structured data (§6.3).
fn data(event: &Event<'_>) -> String {
    let incident = event.incident;
    let parameters = [
        ("id", event.id()),
        ("state", event.name().to_owned()),
        ("kind", incident.kind.name().to_owned()),
        ("technique", incident.kind.technique().unwrap_or_default().to_owned()),
        ("confidence", incident.confidence().to_string()),
        ("sources", texts(&incident.sources).join(" ")),
        ("targets", texts(&incident.targets).join(" ")),
    ];
    let there = parameters.iter().filter(|(_, value)| !value.is_empty());
    let written = there.map(|(name, value)| format!(" {name}=\"{}\"", escaped(value)));
    format!("[{DATA}{}]", written.collect::<String>())
}

/// A text in quotation marks (§6.3.3).
fn escaped(text: &str) -> String {
    let escape = |c: char| if "\"\\]".contains(c) { vec!['\\', c] } else { vec![c] };
    text.chars().flat_map(escape).collect()
}

/// A text of the header: printable ASCII without spaces, `-` if there is none (§6.2).
fn header(text: &str, longest: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_the_standard_requires() {
        assert_eq!(escaped(r#"a"b\c]d"#), r#"a\"b\\c\]d"#);
        assert_eq!([header("a b\u{7f}ü", 9), header("", 9), header("abc", 2)], ["ab", "-", "ab"]);
    }
}
