//! The features of a host window.

use std::net::{IpAddr, Ipv4Addr};

use super::Learn::{LogScaled, Never, RatioOf};
use super::Side::{Destination, Source};
use super::window::HostWindow;
use super::{Feature, Learn, Of, Side};
use crate::record::{Identifier, Value, ValueType};

type Text = &'static str;

const fn count(
    side: Side,
    name: Text,
    unit: Text,
    learn: Learn,
    of: fn(&HostWindow) -> u64,
    meaning: Text,
) -> Feature<HostWindow> {
    Feature { name, unit, meaning, learn, side: Some(side), nfstream: false, of: Of::Count(of) }
}

const fn real(
    side: Side,
    name: Text,
    unit: Text,
    learn: Learn,
    of: fn(&HostWindow) -> f64,
    meaning: Text,
) -> Feature<HostWindow> {
    Feature { name, unit, meaning, learn, side: Some(side), nfstream: false, of: Of::Real(of) }
}

/// The identifiers of a host window.
pub const HOST_IDENTIFIERS: &[Identifier<HostWindow>] = &[
    Identifier {
        name: "address",
        kind: ValueType::Text,
        meaning: "Address of the host",
        nfstream: false,
        of: |host| Value::Text(host.ip().to_string()),
    },
    Identifier {
        name: "ip_version",
        kind: ValueType::Integer,
        meaning: "4 or 6",
        nfstream: false,
        of: |host| Value::Number(host.address.version() as u64),
    },
];

/// The features of a host window: the host as initiator of flows (`source_…`) and as responder (`destination_…`).
#[rustfmt::skip]
pub const HOST_FEATURES: &[Feature<HostWindow>] = &[
    real(Source, "source_flows", "flows", Never, |host| host.source.flows,
        "Flows that it opened"),
    count(Source, "source_new_flows", "flows", LogScaled, |host| host.source.new_flows,
        "Flows that it opened within the window"),
    count(Source, "source_login_flows", "flows", LogScaled, |host| host.source.login_flows,
        "Flows that it opened within the window, to services that begin with a login"),
    real(Source, "source_peers", "addresses", LogScaled, |host| host.source.peers,
        "Other addresses in its own flows"),
    real(Source, "source_ports", "ports", LogScaled, |host| host.source.ports,
        "Different ports of the responder in its own flows"),
    count(Source, "source_packets_out", "packets", LogScaled, |host| host.source.packets_out,
        "Packets that it sent in its own flows"),
    count(Source, "source_packets_in", "packets", LogScaled, |host| host.source.packets_in,
        "Packets that it received in its own flows"),
    count(Source, "source_bytes_out", "bytes", LogScaled, |host| host.source.bytes_out,
        "IP bytes that it sent in its own flows"),
    count(Source, "source_bytes_in", "bytes", LogScaled, |host| host.source.bytes_in,
        "IP bytes that it received in its own flows"),
    real(Source, "source_bytes_out_share", "share", Never, |host| host.source.bytes_out_share(),
        "Share of the IP bytes of its own flows that it sent"),
    real(Source, "source_syn_share", "share", RatioOf("source_flows"), |host| host.source.syn_share(),
        "Share of packets with SYN and without ACK in its own flows"),
    real(Source, "source_syn_ack_share", "share", Never, |host| host.source.syn_ack_share(),
        "Share of packets with SYN and ACK in its own flows"),
    real(Source, "source_rst_share", "share", RatioOf("source_flows"), |host| host.source.rst_share(),
        "Share of packets with RST in its own flows"),
    real(Source, "source_unanswered_share", "share", RatioOf("source_flows"), |host| host.source.unanswered_share(),
        "Share of its own flows that were not answered"),
    real(Source, "source_small_packet_share", "share", RatioOf("source_flows"), |host| host.source.small_packet_share(),
        "Share of packets below 128 bytes in its own flows"),
    real(Source, "source_peer_entropy", "bits", RatioOf("source_flows"), |host| host.source.peer_entropy,
        "Entropy of the other address in its own flows: 0 if all flows have the same"),
    real(Source, "source_port_entropy", "bits", RatioOf("source_flows"), |host| host.source.port_entropy,
        "Entropy of the port of the responder in its own flows: 0 if all flows have the same"),
    real(Destination, "destination_flows", "flows", Never, |host| host.destination.flows,
        "Flows opened to it"),
    count(Destination, "destination_new_flows", "flows", LogScaled, |host| host.destination.new_flows,
        "Flows opened to it within the window"),
    count(Destination, "destination_login_flows", "flows", LogScaled, |host| host.destination.login_flows,
        "Flows opened to it within the window, to services that begin with a login"),
    real(Destination, "destination_peers", "addresses", LogScaled, |host| host.destination.peers,
        "Other addresses in flows opened to it"),
    real(Destination, "destination_ports", "ports", LogScaled, |host| host.destination.ports,
        "Different ports of the responder in flows opened to it"),
    count(Destination, "destination_packets_out", "packets", LogScaled, |host| host.destination.packets_out,
        "Packets that it sent in flows opened to it"),
    count(Destination, "destination_packets_in", "packets", LogScaled, |host| host.destination.packets_in,
        "Packets that it received in flows opened to it"),
    count(Destination, "destination_bytes_out", "bytes", LogScaled, |host| host.destination.bytes_out,
        "IP bytes that it sent in flows opened to it"),
    count(Destination, "destination_bytes_in", "bytes", LogScaled, |host| host.destination.bytes_in,
        "IP bytes that it received in flows opened to it"),
    real(Destination, "destination_bytes_out_share", "share", Never, |host| host.destination.bytes_out_share(),
        "Share of the IP bytes of flows opened to it that it sent"),
    real(Destination, "destination_syn_share", "share", RatioOf("destination_flows"), |host| host.destination.syn_share(),
        "Share of packets with SYN and without ACK in flows opened to it"),
    real(Destination, "destination_syn_ack_share", "share", Never, |host| host.destination.syn_ack_share(),
        "Share of packets with SYN and ACK in flows opened to it"),
    real(Destination, "destination_rst_share", "share", RatioOf("destination_flows"), |host| host.destination.rst_share(),
        "Share of packets with RST in flows opened to it"),
    real(Destination, "destination_unanswered_share", "share", RatioOf("destination_flows"), |host| host.destination.unanswered_share(),
        "Share of the flows opened to it that were not answered"),
    real(Destination, "destination_small_packet_share", "share", RatioOf("destination_flows"), |host| host.destination.small_packet_share(),
        "Share of packets below 128 bytes in flows opened to it"),
    real(Destination, "destination_peer_entropy", "bits", RatioOf("destination_flows"), |host| host.destination.peer_entropy,
        "Entropy of the other address in flows opened to it: 0 if all flows have the same"),
    real(Destination, "destination_port_entropy", "bits", RatioOf("destination_flows"), |host| host.destination.port_entropy,
        "Entropy of the port of the responder in flows opened to it: 0 if all flows have the same"),
];

/// The flows to which a column of host windows belongs.
#[must_use]
pub fn side_of(column: &str) -> Option<Side> {
    HOST_FEATURES.iter().find(|feature| feature.name == column)?.side
}

impl HostWindow {
    /// Whether the address belongs to one host: it is not multicast, unspecified or broadcast. Traffic to a group is in
    /// the windows of its senders.
    #[must_use]
    pub(crate) fn is_of_a_host(&self) -> bool {
        let ip = self.ip();
        !ip.is_multicast() && !ip.is_unspecified() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
    }

    /// The address; an IPv4 address as `IpAddr::V4`.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.address.to_ip()
    }
}
