//! The features of a host window.

use std::net::IpAddr;

use super::Learn::{Amount, Never, Share};
use super::window::HostWindow;
use super::{Feature, Learn, share};
use crate::record::{Identifier, Value};

const fn feature(
    name: &'static str,
    unit: &'static str,
    learn: Learn,
    meaning: &'static str,
    of: fn(&HostWindow) -> f64,
) -> Feature<HostWindow> {
    Feature { name, unit, meaning, learn, of }
}

/// The identifiers of a host window.
pub const HOST_IDENTIFIERS: &[Identifier<HostWindow>] = &[
    Identifier { name: "address", meaning: "Address of the host", of: |host| Value::Text(host.ip().to_string()) },
    Identifier {
        name: "ip_version",
        meaning: "4 or 6",
        of: |host| Value::Number(if host.ip().is_ipv4() { 4 } else { 6 }),
    },
];

/// The features of a host window: what the host did in the flows that it opened (`source_…`) and in those that others
/// opened to it (`destination_…`).
pub const HOST_FEATURES: &[Feature<HostWindow>] = &[
    feature("source_flows", "flows", Amount, "Flows that it opened", |host| host.source.flows),
    feature("source_new_flows", "flows", Amount, "Flows that it opened within the window", |host| {
        host.source.new_flows as f64
    }),
    feature("source_peers", "addresses", Amount, "Addresses that it opened flows to", |host| host.source.peers),
    feature("source_ports", "ports", Amount, "Different ports that it opened flows to", |host| host.source.ports),
    feature("source_packets_out", "packets", Amount, "Packets that it sent as initiator", |host| {
        host.source.packets_out as f64
    }),
    feature("source_packets_in", "packets", Never, "Packets that it received as initiator", |host| {
        host.source.packets_in as f64
    }),
    feature("source_bytes_out", "bytes", Amount, "IP bytes that it sent as initiator", |host| {
        host.source.bytes_out as f64
    }),
    feature("source_bytes_in", "bytes", Amount, "IP bytes that it received as initiator", |host| {
        host.source.bytes_in as f64
    }),
    feature("source_syn_share", "share", Share, "SYN packets among the packets of its own flows", |host| {
        share(host.source.syn_packets as f64, host.source.packets() as f64)
    }),
    feature("source_syn_ack_share", "share", Never, "SYN-ACK packets among the packets of its own flows", |host| {
        share(host.source.syn_ack_packets as f64, host.source.packets() as f64)
    }),
    feature("source_rst_share", "share", Share, "RST packets among the packets of its own flows", |host| {
        share(host.source.rst_packets as f64, host.source.packets() as f64)
    }),
    feature("source_unanswered_share", "share", Share, "Its own flows that nobody answered", |host| {
        share(host.source.unanswered, host.source.flows)
    }),
    feature("source_bytes_out_share", "share", Share, "What it sent of the bytes of its own flows", |host| {
        share(host.source.bytes_out as f64, host.source.bytes() as f64)
    }),
    feature("source_small_packet_share", "share", Share, "Packets below 128 bytes in its own flows", |host| {
        share(host.source.small_packets as f64, host.source.packets() as f64)
    }),
    feature("source_peer_entropy", "bits", Share, "Entropy of its own flows over the peers", |host| {
        host.source.peer_entropy
    }),
    feature("source_port_entropy", "bits", Share, "Entropy of its own flows over the ports", |host| {
        host.source.port_entropy
    }),
    feature("destination_flows", "flows", Amount, "Flows opened to it", |host| host.destination.flows),
];

impl HostWindow {
    /// The address, IPv4 as IPv4.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.address.to_ip()
    }
}
