//! The counts of all addresses in one slice of time.

use std::cmp::Reverse;

use ahash::RandomState;
use flowml_common::flow::Address;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::observation::Observation;
use super::role::Role;
use crate::features::Distinct;

/// Addresses kept in a window. In a flood from spoofed sources, those with the most packets are kept.
pub(super) const MAX_HOSTS: usize = 8192;

/// One role of one address in one time slice.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) counts: Role,
    /// Weight: 1 if the responder has answered.
    pub(super) flows: Distinct,
    /// Weight: partial flows.
    pub(super) peers: Distinct,
    /// Weight: partial flows.
    pub(super) ports: Distinct,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Host {
    pub(super) source: Tally,
    pub(super) destination: Tally,
}

impl Host {
    pub(super) const fn packets(&self) -> u64 {
        self.source.counts.packets() + self.destination.counts.packets()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.source.merge(&other.source);
        self.destination.merge(&other.destination);
    }
}

impl Tally {
    pub(super) fn add(&mut self, seen: &Observation, peer: u32) {
        self.add_counts(&seen.counts);
        self.flows.add(seen.flow, seen.answered.into());
        self.peers.add(peer, 1);
        if let Some(port) = seen.port {
            self.ports.add(port, 1);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.add_counts(&other.counts);
        self.flows.merge(&other.flows);
        self.peers.merge(&other.peers);
        self.ports.merge(&other.ports);
    }

    pub(super) fn add_counts(&mut self, other: &Role) {
        let mine = &mut self.counts;
        mine.new_flows += other.new_flows;
        mine.login_flows += other.login_flows;
        mine.packets_in += other.packets_in;
        mine.packets_out += other.packets_out;
        mine.bytes_in += other.bytes_in;
        mine.bytes_out += other.bytes_out;
        mine.syn_packets += other.syn_packets;
        mine.syn_ack_packets += other.syn_ack_packets;
        mine.rst_packets += other.rst_packets;
        mine.small_packets += other.small_packets;
    }

    pub(super) fn role(&mut self) -> Role {
        Role {
            flows: self.flows.count(),
            unanswered: self.flows.count_without_weight(),
            peers: self.peers.count(),
            ports: self.ports.count(),
            peer_entropy: self.peers.entropy_bits(),
            port_entropy: self.ports.entropy_bits(),
            ..self.counts
        }
    }
}

/// The partial flows of the drains that ended in one period of time.
#[derive(Serialize, Deserialize)]
pub(super) struct Slice {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) hosts: IndexMap<Address, Host, RandomState>,
    pub(super) left_out: u64,
}

impl Slice {
    pub(super) fn new(start_ns: u64) -> Self {
        Self { start_ns, end_ns: start_ns, hosts: IndexMap::default(), left_out: 0 }
    }

    /// Keeps only the [`MAX_HOSTS`] addresses with the most packets.
    pub(super) fn prune(&mut self) {
        if self.hosts.len() <= MAX_HOSTS {
            return;
        }
        let mut order: Vec<_> = self.hosts.iter().map(|(address, host)| (Reverse(host.packets()), *address)).collect();
        let (_, limit, _) = order.select_nth_unstable(MAX_HOSTS);
        let limit = *limit;
        let before = self.hosts.len();
        self.hosts.retain(|address, host| (Reverse(host.packets()), *address) < limit);
        self.left_out += (before - self.hosts.len()) as u64;
    }
}
