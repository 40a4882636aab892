//! The features of a host window.

use std::net::IpAddr;

use super::Learn::{Amount, Never, Share};
use super::window::HostWindow;
use super::{Feature, Learn};
use crate::record::{Identifier, Value};

const fn feature(
    name: &'static str,
    unit: &'static str,
    learn: Learn,
    of: fn(&HostWindow) -> f64,
    meaning: &'static str,
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
#[rustfmt::skip]
pub const HOST_FEATURES: &[Feature<HostWindow>] = &[
    feature("source_flows", "flows", Never, |host| host.source.flows,
        "Flows that it opened"),
    feature("source_new_flows", "flows", Amount, |host| host.source.new_flows as f64,
        "Flows that it opened within the window"),
    feature("source_peers", "addresses", Amount, |host| host.source.peers,
        "Other addresses in its own flows"),
    feature("source_ports", "ports", Amount, |host| host.source.ports,
        "Different ports of the responder in its own flows"),
    feature("source_packets_out", "packets", Amount, |host| host.source.packets_out as f64,
        "Packets that it sent in its own flows"),
    feature("source_packets_in", "packets", Amount, |host| host.source.packets_in as f64,
        "Packets that it received in its own flows"),
    feature("source_bytes_out", "bytes", Amount, |host| host.source.bytes_out as f64,
        "IP bytes that it sent in its own flows"),
    feature("source_bytes_in", "bytes", Amount, |host| host.source.bytes_in as f64,
        "IP bytes that it received in its own flows"),
    feature("source_bytes_out_share", "share", Never, |host| host.source.bytes_out_share(),
        "What it sent among the IP bytes of its own flows"),
    feature("source_syn_share", "share", Share, |host| host.source.syn_share(),
        "SYN without ACK among the packets of its own flows"),
    feature("source_syn_ack_share", "share", Never, |host| host.source.syn_ack_share(),
        "SYN with ACK among the packets of its own flows"),
    feature("source_rst_share", "share", Share, |host| host.source.rst_share(),
        "RST among the packets of its own flows"),
    feature("source_unanswered_share", "share", Share, |host| host.source.unanswered_share(),
        "Flows without an answer among its own flows"),
    feature("source_small_packet_share", "share", Share, |host| host.source.small_packet_share(),
        "Packets below 128 bytes among those of its own flows"),
    feature("source_peer_entropy", "bits", Share, |host| host.source.peer_entropy,
        "Entropy of its own flows over the other addresses"),
    feature("source_port_entropy", "bits", Share, |host| host.source.port_entropy,
        "Entropy of its own flows over the ports of the responder"),
    feature("destination_flows", "flows", Never, |host| host.destination.flows,
        "Flows opened to it"),
    feature("destination_new_flows", "flows", Amount, |host| host.destination.new_flows as f64,
        "Flows opened to it within the window"),
    feature("destination_peers", "addresses", Amount, |host| host.destination.peers,
        "Other addresses in flows opened to it"),
    feature("destination_ports", "ports", Amount, |host| host.destination.ports,
        "Different ports of the responder in flows opened to it"),
    feature("destination_packets_out", "packets", Amount, |host| host.destination.packets_out as f64,
        "Packets that it sent in flows opened to it"),
    feature("destination_packets_in", "packets", Amount, |host| host.destination.packets_in as f64,
        "Packets that it received in flows opened to it"),
    feature("destination_bytes_out", "bytes", Amount, |host| host.destination.bytes_out as f64,
        "IP bytes that it sent in flows opened to it"),
    feature("destination_bytes_in", "bytes", Amount, |host| host.destination.bytes_in as f64,
        "IP bytes that it received in flows opened to it"),
    feature("destination_bytes_out_share", "share", Never, |host| host.destination.bytes_out_share(),
        "What it sent among the IP bytes of flows opened to it"),
    feature("destination_syn_share", "share", Share, |host| host.destination.syn_share(),
        "SYN without ACK among the packets of flows opened to it"),
    feature("destination_syn_ack_share", "share", Never, |host| host.destination.syn_ack_share(),
        "SYN with ACK among the packets of flows opened to it"),
    feature("destination_rst_share", "share", Share, |host| host.destination.rst_share(),
        "RST among the packets of flows opened to it"),
    feature("destination_unanswered_share", "share", Share, |host| host.destination.unanswered_share(),
        "Flows without an answer among flows opened to it"),
    feature("destination_small_packet_share", "share", Share, |host| host.destination.small_packet_share(),
        "Packets below 128 bytes among those of flows opened to it"),
    feature("destination_peer_entropy", "bits", Share, |host| host.destination.peer_entropy,
        "Entropy of flows opened to it over the other addresses"),
    feature("destination_port_entropy", "bits", Share, |host| host.destination.port_entropy,
        "Entropy of flows opened to it over the ports of the responder"),
];

impl HostWindow {
    /// The address, IPv4 as IPv4.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.address.to_ip()
    }
}
