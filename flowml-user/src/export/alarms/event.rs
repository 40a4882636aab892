//! An event of an incident, with what several formats state about it.

use chrono::{DateTime, SecondsFormat, Utc};
use flowml_common::flow::Address;
use flowml_common::headers::protocol;

use super::super::origin::Origin;
use super::attack::Technique;
use super::level::Level;
use crate::incident::{Hosts, Incident, State};
use crate::record::Clock;

/// An event of an incident, and who sends it.
pub(super) struct Event<'a> {
    pub(super) state: State,
    pub(super) incident: &'a Incident,
    pub(super) clock: Clock,
    pub(super) sender: &'a Origin,
}

impl Event<'_> {
    /// An identifier of the incident, the same in all of its events, and unique among all hosts and runs.
    pub(super) fn id(&self) -> String {
        let Incident { series_ms, number, .. } = self.incident;
        format!("{}-{series_ms}-{number}", self.sender.agent)
    }

    /// The name of the event.
    pub(super) const fn name(&self) -> &'static str {
        match self.state {
            State::Open => "opened",
            State::Named => "named",
            State::Closed => "closed",
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Unix time of the start of the incident, ms.
    pub(super) fn start_ms(&self) -> u64 {
        self.clock.unix_ms(self.incident.start_ns)
    }

    /// Unix time of the end of its activity so far, ms.
    pub(super) fn end_ms(&self) -> u64 {
        self.clock.unix_ms(self.incident.end_ns)
    }

    pub(super) fn level(&self) -> &'static Level {
        Level::of(self.incident.probability)
    }

    pub(super) fn technique(&self) -> Option<&'static Technique> {
        Technique::of(self.incident.kind)
    }

    /// The first source and the first target.
    pub(super) fn first(&self) -> [Option<String>; 2] {
        [&self.incident.sources, &self.incident.targets].map(|hosts| hosts.named.first().map(text))
    }

    /// The named hosts, the sources first. A host that is both is named once.
    pub(super) fn hosts(&self) -> Vec<String> {
        let Incident { sources, targets, .. } = self.incident;
        let others = targets.named.iter().filter(|address| !sources.named.contains(address));
        sources.named.iter().chain(others).map(text).collect()
    }

    /// The name of the transport protocol that a test counted.
    pub(super) const fn transport(&self) -> Option<&'static str> {
        match self.incident.evidence.protocol {
            protocol::TCP => Some("tcp"),
            protocol::UDP => Some("udp"),
            protocol::SCTP => Some("sctp"),
            protocol::ICMP => Some("icmp"),
            protocol::ICMPV6 => Some("ipv6-icmp"),
            _ => None,
        }
    }

    /// The incident in one sentence, with the event and the technique.
    pub(super) fn sentence(&self) -> String {
        let technique = self.incident.kind.technique().map(|number| format!(", ATT&CK {number}")).unwrap_or_default();
        let Incident { number, kind, .. } = self.incident;
        format!("incident {number} {}: {} ({}{technique})", self.name(), self.incident.summary(), kind.name())
    }
}

/// The addresses of the named hosts.
pub(super) fn texts(hosts: &Hosts) -> Vec<String> {
    hosts.named.iter().map(text).collect()
}

fn text(address: &Address) -> String {
    address.to_ip().to_string()
}

/// A Unix time in ms as text (RFC 3339).
pub(super) fn time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
