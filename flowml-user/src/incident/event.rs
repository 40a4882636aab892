//! A report of an incident: its kind, hosts, times, evidence and reasons.

use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

use crate::learning::Reason;
use crate::sequential::{Evidence, Kind, Story};

/// The largest number of named hosts of a role.
pub(super) const NAMED: usize = 8;

/// The role of a host in an anomalous window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The host's own activity is anomalous.
    Source,
    /// The activity of others against it is anomalous.
    Target,
}

/// Hosts of one role in an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// The first hosts, in the order in which they were found.
    pub named: Vec<Address>,
    /// The number of hosts, at most 65,536.
    pub count: usize,
}

impl Hosts {
    /// One or two hosts by address, more by their number.
    #[must_use]
    pub fn in_words(&self) -> String {
        let names: Vec<String> = self.named.iter().map(|address| address.to_ip().to_string()).collect();
        match (self.count, names.as_slice()) {
            (1 | 2, _) => names.join(" and "),
            (0, _) => String::new(),
            (count, _) => format!("{count} hosts"),
        }
    }
}

/// Anomalies with one cause. Times are ns of the capture's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Unix time at which the numbering began, ms: the start of the first of the runs that continue each other. On one
    /// host, it identifies the incident together with its number.
    pub series_ms: u64,
    /// Number of the incident, from 1, in the order in which they were reported.
    pub number: u64,
    /// The kind.
    pub kind: Kind,
    /// The counts of the sequential tests.
    pub evidence: Evidence,
    /// Start of the first window.
    pub start_ns: u64,
    /// End of the last window so far.
    pub end_ns: u64,
    /// The attackers that were seen.
    pub sources: Hosts,
    /// The victims.
    pub targets: Hosts,
    /// Number of anomalous host windows.
    pub windows: u64,
    /// Number of anomalous flows from or to one of the hosts.
    pub flows: u64,
    /// The probability of the most anomalous window. For a finding of a test, the bound on its probability in normal
    /// traffic.
    pub probability: f64,
    /// The reasons for the most anomalous window.
    pub reasons: Vec<Reason>,
}

impl Incident {
    /// −log₁₀ of its probability in normal traffic, at most 300.
    #[must_use]
    pub fn severity(&self) -> f64 {
        severity(self.probability)
    }

    /// 1 − the probability of such an incident in normal traffic.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        1.0 - self.probability
    }

    /// A summary in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        self.kind.sentence(&Story {
            sources: self.sources.in_words(),
            targets: self.targets.in_words(),
            evidence: self.evidence,
            seconds: self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9,
        })
    }

    pub(super) fn hosts_mut(&mut self, role: Role) -> &mut Hosts {
        match role {
            Role::Source => &mut self.sources,
            Role::Target => &mut self.targets,
        }
    }
}

/// −log₁₀ of a probability, 300 at most.
pub(super) fn severity(probability: f64) -> f64 {
    -probability.max(1e-300).log10()
}

/// A change of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// The incident was opened.
    Open,
    /// The incident is open, and a test has determined its kind.
    Named,
    /// The incident has ended.
    Closed,
}
