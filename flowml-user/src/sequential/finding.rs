//! A finding of a test: the event, its hosts and its evidence.

use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::kind::{Evidence, Kind};

/// The largest number of hosts of a party that are named.
pub(super) const NAMED: usize = 8;

/// Hosts on one side of a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The first hosts that were found.
    pub named: Vec<Address>,
    /// The number of hosts, estimated if it is large.
    pub count: usize,
}

impl Party {
    pub(super) fn of(address: Address) -> Self {
        Self { named: vec![address], count: 1 }
    }
}

/// The first hosts of many, which are named. Most tests see one host, which needs no heap memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Named(SmallVec<[Address; 1]>);

impl Named {
    /// Adds a host if there is room.
    pub(super) fn add(&mut self, address: Address) {
        if self.0.len() < NAMED && !self.0.contains(&address) {
            self.0.push(address);
        }
    }

    /// These hosts of `count` hosts.
    pub(super) fn of(&self, count: usize) -> Party {
        Party { count: count.max(self.0.len()), named: self.0.to_vec() }
    }
}

/// A finding of a test in an interval. A lasting event has a finding in each interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The kind of the event.
    pub kind: Kind,
    /// The attackers.
    pub sources: Party,
    /// The victims.
    pub targets: Party,
    /// The counts since the previous finding of the event.
    pub evidence: Evidence,
    /// Start of the event, ns of the capture's clock.
    pub start_ns: u64,
    /// The last activity of the event, ns of the capture's clock.
    pub end_ns: u64,
    /// The probability of such a finding in normal traffic, an upper bound.
    pub bound: f64,
}
