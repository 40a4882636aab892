//! The data shown for a period of time: plain data for the tables and the UI, and its wording.

#[cfg(test)]
pub(crate) mod samples;

use flowml_common::flow::{Address, Endpoint, FlowKey, Sender};
use flowml_common::packet::Skipped;
use flowml_common::table::Count;
use flowml_common::tunnel::{Outcome, TunnelCounts, TunnelKind};
use flowml_user::export::{IntervalReport, OutputLine};
use flowml_user::incident::{Hosts, Incident, State};
use flowml_user::learning::{Reason, Verdict};
use flowml_user::sequential::Kind;

use super::activity::{FlowActivity, HostActivity};
use super::services::service_name;
use super::text::{counted, grouped};

/// A flow in the period.
#[derive(Clone, Debug)]
pub(crate) struct FlowLine {
    pub(crate) key: FlowKey,
    pub(crate) activity: FlowActivity,
    /// The verdict of a record that ended in the period.
    pub(crate) verdict: Option<Verdict>,
}

/// A host in the period.
#[derive(Clone, Debug)]
pub(crate) struct HostLine {
    pub(crate) address: Address,
    pub(crate) activity: HostActivity,
    pub(crate) verdict: Option<Verdict>,
}

/// An anomaly to show.
#[derive(Clone, Debug)]
pub(crate) enum Anomaly {
    /// An incident of hosts.
    Incident(State, Incident),
    /// An anomalous flow outside incidents.
    Flow(AnomalousFlow),
}

/// An anomalous flow outside incidents.
#[derive(Clone, Debug)]
pub(crate) struct AnomalousFlow {
    pub(crate) key: FlowKey,
    pub(crate) initiator: Sender,
    /// The verdict of its least probable record.
    pub(crate) verdict: Verdict,
}

/// All data shown for one or several intervals.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The state at the end, and the traffic of the complete period.
    pub(crate) report: IntervalReport,
    /// Unordered, like the other lists.
    pub(crate) anomalies: Vec<Anomaly>,
    pub(crate) flows: Vec<FlowLine>,
    pub(crate) hosts: Vec<HostLine>,
    pub(crate) outputs: Vec<OutputLine>,
}

impl View {
    /// The names of the metered interfaces.
    pub(crate) fn interfaces(&self) -> String {
        let names: Vec<&str> = self.report.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        if names.is_empty() { "no interface".to_owned() } else { names.join(", ") }
    }

    /// A count over the complete period, per second.
    pub(crate) fn per_second(&self, amount: u64) -> f64 {
        let seconds = self.report.elapsed.as_secs_f64();
        if seconds > 0.0 { amount as f64 / seconds } else { 0.0 }
    }
}

impl FlowLine {
    /// Initiator and responder.
    pub(crate) fn ends(&self) -> [String; 2] {
        ends(&self.key, self.activity.initiator)
    }

    /// `↔` if both endpoints have sent something.
    pub(crate) fn sign(&self) -> &'static str {
        if self.activity.is_two_way() { "↔" } else { "→" }
    }

    pub(crate) fn service(&self) -> String {
        service_name(&self.key, self.activity.initiator)
    }

    /// Whether the flow had packets in the period, and did not only end in it.
    pub(crate) fn has_traffic(&self) -> bool {
        self.activity.total().packets > 0
    }
}

impl Anomaly {
    /// `incident 1 (4 s): port_scan: 10.0.0.1 → 10.0.0.2`, `flow 10.0.0.1:5 → 10.0.0.2:80 (http)`.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Incident(state, incident) => {
                let over = if *state == State::Closed { " is over" } else { "" };
                let Incident { number, kind, start_ns, end_ns, .. } = incident;
                let lasts = end_ns.saturating_sub(*start_ns) as f64 / 1e9;
                format!("incident {number}{over} ({lasts:.0} s): {}: {}", kind.name(), who(incident))
            }
            Self::Flow(AnomalousFlow { key, initiator, .. }) => {
                let [source, destination] = ends(key, *initiator);
                format!("flow {source} → {destination} ({})", service_name(key, *initiator))
            }
        }
    }

    pub(crate) fn probability(&self) -> f64 {
        match self {
            Self::Incident(_, incident) => incident.probability,
            Self::Flow(flow) => flow.verdict.probability,
        }
    }

    pub(crate) fn reasons(&self) -> &[Reason] {
        match self {
            Self::Incident(_, incident) => &incident.reasons,
            Self::Flow(flow) => &flow.verdict.reasons,
        }
    }

    /// The sentence of an incident that a sequential test found.
    pub(crate) fn summary(&self) -> Option<String> {
        match self {
            Self::Incident(_, incident) if incident.kind != Kind::Unusual => Some(incident.summary()),
            _ => None,
        }
    }

    /// The sort key: open incidents first, then closed ones, then flows; the least probable first.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        let (kind, number, key) = match self {
            Self::Incident(State::Open | State::Named, incident) => (0, incident.number, None),
            Self::Incident(State::Closed, incident) => (1, incident.number, None),
            Self::Flow(flow) => (2, 0, Some(flow.key)),
        };
        // The bits of non-negative floating-point numbers sort like the numbers.
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

/// One or two hosts by their address, more by their number.
fn hosts(hosts: &Hosts) -> Option<String> {
    let names: Vec<String> = hosts.named.iter().map(|address| address.to_ip().to_string()).collect();
    match hosts.count {
        0 => None,
        1 | 2 => Some(names.join(", ")),
        count => Some(counted(count as u64, "host")),
    }
}

/// Initiator and responder, with their ports if they have any.
fn ends(key: &FlowKey, initiator: Sender) -> [String; 2] {
    [initiator, initiator.opposite()].map(|end| {
        let Endpoint { address, port } = key.endpoint(end);
        match address.to_ip() {
            address if !key.has_ports() => address.to_string(),
            address => std::net::SocketAddr::new(address, port).to_string(),
        }
    })
}

/// `120 packets taken out of vxlan, 3 left in vxlan (unknown)`; none without tunnels.
pub(crate) fn by_tunnel(tunnels: &TunnelCounts) -> Option<String> {
    let of = |outcome| {
        let kinds = TunnelKind::ALL.into_iter().map(move |kind| (kind, tunnels.of(kind, outcome)));
        kinds
            .filter(|(_, packets)| *packets > 0)
            .map(move |(kind, packets)| (kind.name(), grouped(packets), outcome.name()))
    };
    let removed = of(Outcome::Removed).map(|(kind, packets, _)| format!("{packets} packets taken out of {kind}"));
    let left = Outcome::ALL[1..].iter().flat_map(|outcome| of(*outcome));
    let left = left.map(|(kind, packets, reason)| format!("{packets} left in {kind} ({reason})"));
    let words: Vec<String> = removed.chain(left).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// `12 not_ip, 1 truncated`; none if nothing was skipped.
pub(crate) fn by_reason(skipped: &[Count; Skipped::COUNT], of: impl Fn(&Count) -> u64) -> Option<String> {
    let reasons: Vec<String> = Skipped::ALL
        .iter()
        .zip(skipped)
        .filter(|(_, count)| of(count) > 0)
        .map(|(reason, count)| format!("{} {}", grouped(of(count)), reason.name()))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// The number of the cluster, or a dash without a verdict.
pub(crate) fn cluster(verdict: Option<&Verdict>) -> String {
    verdict.map_or_else(|| "–".to_owned(), |verdict| verdict.cluster.to_string())
}
