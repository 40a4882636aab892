//! The activity of an address in one role: as initiator of flows, or as responder.

use serde::{Deserialize, Serialize};

use crate::features::share;
use crate::session::HostCounts;

/// The activity of an address in one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Flows with packets in the window.
    pub flows: f64,
    /// Flows that began in the window.
    pub new_flows: u64,
    /// New flows to a service that begins with a login.
    pub login_flows: u64,
    /// Flows whose responder has never sent a packet.
    pub unanswered: f64,
    /// Addresses on the other side.
    pub peers: f64,
    /// Ports on the responder's side; the same number of two protocols is two ports.
    pub ports: f64,
    /// Entropy of the flows over the peers, bits.
    pub peer_entropy: f64,
    /// Entropy of the flows over the ports, bits.
    pub port_entropy: f64,
    /// Packets that the address received.
    pub packets_in: u64,
    /// Packets that the address sent.
    pub packets_out: u64,
    /// IP bytes that the address received.
    pub bytes_in: u64,
    /// IP bytes that the address sent.
    pub bytes_out: u64,
    /// TCP packets with SYN and without ACK, in both directions.
    pub syn_packets: u64,
    /// TCP packets with SYN and ACK, in both directions.
    pub syn_ack_packets: u64,
    /// TCP packets with RST, in both directions.
    pub rst_packets: u64,
    /// Packets of fewer than 128 IP bytes, in both directions.
    pub small_packets: u64,
}

impl Role {
    /// Packets in both directions.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets_in + self.packets_out
    }

    /// IP bytes in both directions.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }

    /// IP bytes that the address sent / all IP bytes.
    #[must_use]
    pub fn bytes_out_share(&self) -> f64 {
        share(self.bytes_out as f64, self.bytes() as f64)
    }

    /// Packets with SYN and without ACK / all packets.
    #[must_use]
    pub fn syn_share(&self) -> f64 {
        self.share_of_packets(self.syn_packets)
    }

    /// Packets with SYN and ACK / all packets.
    #[must_use]
    pub fn syn_ack_share(&self) -> f64 {
        self.share_of_packets(self.syn_ack_packets)
    }

    /// Packets with RST / all packets.
    #[must_use]
    pub fn rst_share(&self) -> f64 {
        self.share_of_packets(self.rst_packets)
    }

    /// Packets of fewer than 128 IP bytes / all packets.
    #[must_use]
    pub fn small_packet_share(&self) -> f64 {
        self.share_of_packets(self.small_packets)
    }

    /// Unanswered flows / all flows.
    #[must_use]
    pub fn unanswered_share(&self) -> f64 {
        share(self.unanswered, self.flows)
    }

    /// The counts from the other side's point of view.
    pub(super) const fn turned(self) -> Self {
        Self {
            packets_in: self.packets_out,
            packets_out: self.packets_in,
            bytes_in: self.bytes_out,
            bytes_out: self.bytes_in,
            ..self
        }
    }

    /// Whether there was a flow in this role.
    pub(super) const fn is_active(&self) -> bool {
        self.packets() > 0
    }

    /// The part of the role that a session stores. Estimates are truncated to integers.
    pub(super) fn counts(&self) -> HostCounts {
        let of = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        HostCounts {
            flows: self.flows as u32,
            new_flows: of(self.new_flows),
            login_flows: of(self.login_flows),
            unanswered: self.unanswered as u32,
            peers: self.peers as u32,
            ports: self.ports as u32,
            syn_packets: of(self.syn_packets),
            packets: of(self.packets()),
        }
    }

    fn share_of_packets(&self, packets: u64) -> f64 {
        share(packets as f64, self.packets() as f64)
    }
}
