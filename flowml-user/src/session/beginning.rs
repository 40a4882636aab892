//! The activity of both hosts when a record started: the counts of their host windows that a session keeps.

use serde::{Deserialize, Serialize};

/// Counts of a host in one role, within one host window. They saturate at 32 bits, to save memory: each of a million
/// sessions keeps two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCounts {
    /// Number of flows with packets in the window.
    pub flows: u32,
    /// Number of flows that started in the window.
    pub new_flows: u32,
    /// Number of new flows to a service that starts with a login.
    pub login_flows: u32,
    /// Number of flows whose responder has never sent a packet.
    pub unanswered: u32,
    /// Number of addresses on the other side.
    pub peers: u32,
    /// Number of ports on the responder's side, by protocol.
    pub ports: u32,
    /// Number of TCP packets with SYN and without ACK, in both directions.
    pub syn_packets: u32,
    /// Number of packets, in both directions.
    pub packets: u32,
}

impl HostCounts {
    /// Ratio of flows without a reply to all flows; 0 without flows.
    #[must_use]
    pub fn unanswered_share(&self) -> f64 {
        share(self.unanswered, self.flows)
    }

    /// Ratio of packets with SYN and without ACK to all packets; 0 without packets.
    #[must_use]
    pub fn syn_share(&self) -> f64 {
        share(self.syn_packets, self.packets)
    }
}

/// The ratio `part / whole`; 0 if `whole` is 0.
fn share(part: u32, whole: u32) -> f64 {
    if whole > 0 { f64::from(part) / f64::from(whole) } else { 0.0 }
}

/// Counts of the initiator over minutes. They decay: an event one time constant ago counts 1/e.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlowCounts {
    /// Number of addresses to which it opened flows. The time constant is ten minutes.
    pub peers: f32,
    /// Number of the responder's ports to which it opened flows. The time constant is ten minutes.
    pub ports: f32,
    /// Number of TCP connections that it opened to this service of the responder. Time constants: two seconds, one
    /// minute, ten minutes.
    pub connections: [f32; 3],
}

/// The host windows of both hosts that ended with the interval in which a record started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeginWindows {
    /// Counts of the initiator, from the flows that it opened.
    pub source: HostCounts,
    /// Counts of the responder, from the flows that were opened to it.
    pub destination: HostCounts,
    /// Counts of the initiator over minutes, at the end of that interval.
    pub slow: SlowCounts,
}
