//! An incident that has not ended, with what is kept of it until then.

use std::collections::BTreeMap;

use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

use super::event::{Incident, NAMED, Role};
use super::index::{Index, Members, Number};
use crate::learning::Verdict;
use crate::sequential::{Evidence, Kind};

/// The largest number of hosts of an incident that are distinguished. A flood may spoof more.
const MOST_HOSTS: usize = 1 << 16;

/// An incident that has not ended. It is not reported (`reported`) before it is certain.
#[derive(Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) number: Number,
    pub(super) incident: Incident,
    /// The host and role that identify it.
    pub(super) key: (Address, Role),
    pub(super) hosts: Members,
    /// The counts of tests, by the kinds that they found.
    pub(super) counted: BTreeMap<Kind, Evidence>,
    /// End of the last window of a source.
    pub(super) source_end_ns: u64,
    /// Sum of the severities of its windows.
    pub(super) evidence: f64,
    /// The probability of the most anomalous window.
    pub(super) least_probable: f64,
    /// Whether a window is below the incident level, or resembles one that an operator labelled as an attack.
    pub(super) is_rare: bool,
    pub(super) reported: bool,
}

impl Open {
    pub(super) fn new(number: Number, incident: Incident, key: (Address, Role)) -> Self {
        let (hosts, counted) = Default::default();
        Self {
            number,
            incident,
            key,
            hosts,
            counted,
            source_end_ns: 0,
            evidence: 0.0,
            least_probable: f64::INFINITY,
            is_rare: false,
            reported: false,
        }
    }

    /// Adds a host, if it is new.
    pub(super) fn name(&mut self, index: &mut Index, address: Address, role: Role) {
        if self.hosts.len() < MOST_HOSTS && self.hosts.insert((address, role)) {
            index.enter(address, self.number, self.reported);
            let hosts = self.incident.hosts_mut(role);
            hosts.count += 1;
            if hosts.named.len() < NAMED {
                hosts.named.push(address);
            }
        }
    }

    /// Counts an anomalous window, and keeps the reasons of the most anomalous one.
    pub(super) fn take(&mut self, verdict: &Verdict) {
        self.incident.windows += 1;
        if verdict.probability < self.least_probable {
            self.least_probable = verdict.probability;
            self.incident.reasons.clone_from(&verdict.reasons);
        }
    }
}
