//! What people are shown of some time: plain data, which the tables and the screen read, and the words for it.

#[cfg(test)]
pub(super) mod samples;

use flowml_common::flow::{Address, Endpoint, FlowKey};
use flowml_common::packet::{Sender, Skipped};
use flowml_common::table::Count;

use super::activity::{FlowActivity, HostActivity};
use super::report::IntervalReport;
use super::service::service_name;
use super::text::{counted, grouped};
use crate::incident::{Hosts, Incident, State};
use crate::model::{Reason, Verdict};
use crate::witness::Kind;

/// What a flow did.
#[derive(Clone, Debug)]
pub(super) struct FlowLine {
    pub(super) key: FlowKey,
    pub(super) activity: FlowActivity,
    /// Of a record that ended in this time.
    pub(super) verdict: Option<Verdict>,
}

/// What a host did.
#[derive(Clone, Debug)]
pub(super) struct HostLine {
    pub(super) address: Address,
    pub(super) activity: HostActivity,
    pub(super) verdict: Option<Verdict>,
}

/// What is not ordinary.
#[derive(Clone, Debug)]
pub(super) enum Anomaly {
    /// Of hosts.
    Incident(State, Incident),
    /// A flow that belongs to no incident.
    Flow(OddFlow),
}

/// A flow that is an anomaly by itself.
#[derive(Clone, Debug)]
pub(super) struct OddFlow {
    pub(super) key: FlowKey,
    pub(super) initiator: Sender,
    /// The least probable one of its records.
    pub(super) verdict: Verdict,
}

/// What became of the rows of an output.
#[derive(Clone, Debug)]
pub(super) struct OutputLine {
    pub(super) destination: String,
    pub(super) rows: u64,
    pub(super) rows_lost: u64,
    /// Then nobody misses the rows that were not written.
    pub(super) reader_gone: bool,
}

/// All that is shown of one or several intervals.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// How it stands at the end, and what came in all the time.
    pub(super) report: IntervalReport,
    /// In no order, as are the others.
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) flows: Vec<FlowLine>,
    pub(super) hosts: Vec<HostLine>,
    pub(super) outputs: Vec<OutputLine>,
}

impl View {
    /// The names of what is metered.
    pub(super) fn interfaces(&self) -> String {
        let names: Vec<&str> = self.report.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        if names.is_empty() { "no interface".to_owned() } else { names.join(", ") }
    }

    /// So much in all the time, per second.
    pub(super) fn per_second(&self, amount: u64) -> f64 {
        let seconds = self.report.elapsed.as_secs_f64();
        if seconds > 0.0 { amount as f64 / seconds } else { 0.0 }
    }
}

impl FlowLine {
    /// Initiator and responder.
    pub(super) fn ends(&self) -> [String; 2] {
        ends(&self.key, self.activity.initiator)
    }

    /// `↔` where both ends have sent something.
    pub(super) fn sign(&self) -> &'static str {
        if self.activity.is_two_way() { "↔" } else { "→" }
    }

    pub(super) fn service(&self) -> String {
        service_name(&self.key, self.activity.initiator)
    }

    /// Whether it had packets in this time, and did not only end in it.
    pub(super) fn has_traffic(&self) -> bool {
        self.activity.total().packets > 0
    }
}

impl Anomaly {
    /// `incident 1 (4 s): port_scan: 10.0.0.1 → 10.0.0.2`, `flow 10.0.0.1:5 → 10.0.0.2:80 (http)`.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Incident(state, incident) => {
                let over = if *state == State::Closed { " is over" } else { "" };
                let Incident { number, kind, start_ns, end_ns, .. } = incident;
                let lasts = end_ns.saturating_sub(*start_ns) as f64 / 1e9;
                format!("incident {number}{over} ({lasts:.0} s): {}: {}", kind.name(), who(incident))
            }
            Self::Flow(OddFlow { key, initiator, .. }) => {
                let [source, destination] = ends(key, *initiator);
                format!("flow {source} → {destination} ({})", service_name(key, *initiator))
            }
        }
    }

    pub(super) fn probability(&self) -> f64 {
        match self {
            Self::Incident(_, incident) => incident.probability,
            Self::Flow(flow) => flow.verdict.probability,
        }
    }

    pub(super) fn reasons(&self) -> &[Reason] {
        match self {
            Self::Incident(_, incident) => &incident.reasons,
            Self::Flow(flow) => &flow.verdict.reasons,
        }
    }

    /// What a person would say of it, where a test has found it.
    pub(super) fn summary(&self) -> Option<String> {
        match self {
            Self::Incident(_, incident) if incident.kind != Kind::Unusual => Some(incident.summary()),
            _ => None,
        }
    }

    /// Incidents that are open first, then those that are over; the least probable first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let (kind, number, key) = match self {
            Self::Incident(State::Open | State::Named, incident) => (0, incident.number, None),
            Self::Incident(State::Closed, incident) => (1, incident.number, None),
            Self::Flow(flow) => (2, 0, Some(flow.key)),
        };
        // Of numbers that are not negative, the bits are in their order.
        (kind, self.probability().to_bits(), number, key)
    }
}

/// The hosts of an incident.
fn who(incident: &Incident) -> String {
    match (hosts(&incident.sources), hosts(&incident.targets)) {
        (Some(sources), Some(targets)) => format!("{sources} → {targets}"),
        (Some(sources), None) => format!("by {sources}"),
        (None, Some(targets)) => format!("against {targets}"),
        (None, None) => String::new(),
    }
}

/// One or two by name, more by number.
fn hosts(hosts: &Hosts) -> Option<String> {
    let names: Vec<String> = hosts.named.iter().map(|address| address.to_ip().to_string()).collect();
    match hosts.count {
        0 => None,
        1 | 2 => Some(names.join(", ")),
        count => Some(counted(count as u64, "host")),
    }
}

/// Initiator and responder, with their ports where there are any.
fn ends(key: &FlowKey, initiator: Sender) -> [String; 2] {
    [initiator, initiator.opposite()].map(|end| {
        let Endpoint { address, port } = key.endpoint(end);
        match address.to_ip() {
            address if !key.has_ports() => address.to_string(),
            address => std::net::SocketAddr::new(address, port).to_string(),
        }
    })
}

/// `12 not_ip, 1 truncated`, or nothing where nothing was skipped.
pub(super) fn by_reason(skipped: &[Count; Skipped::COUNT], of: impl Fn(&Count) -> u64) -> Option<String> {
    let told: Vec<String> = Skipped::ALL
        .iter()
        .zip(skipped)
        .filter(|(_, count)| of(count) > 0)
        .map(|(reason, count)| format!("{} {}", grouped(of(count)), reason.name()))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// The number of the cluster, or a dash while there is none.
pub(super) fn cluster(verdict: Option<&Verdict>) -> String {
    verdict.map_or_else(|| "–".to_owned(), |verdict| verdict.cluster.to_string())
}
