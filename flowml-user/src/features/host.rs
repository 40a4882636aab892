//! The features of a host window.

use std::net::{IpAddr, Ipv4Addr};

use super::Learn::{LogScaled, Never, RatioOf};
use super::Side::{Destination, Source};
use super::window::HostWindow;
use super::{Feature, Side, count, real};
use crate::record::{Identifier, Value, ValueType};

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

/// Makes the table of a host window's features.
///
/// A row is a quantity that a host has in both roles. It contains the end of the name, the unit, the encoding, the
/// value, and the meaning before and after the words that name the flows of the role.
macro_rules! host_features {
    ($(
        $name:literal, $unit:literal, $learn:ident,
            $type:ident |$role:ident| $value:expr, $before:literal $after:literal;
    )*) => { &[
        $(host_features!(Source source "source_" " that it opened":
            $name, $unit, $learn, $type |$role| $value, $before $after),)*
        $(host_features!(Destination destination "destination_" " that others opened to it":
            $name, $unit, $learn, $type |$role| $value, $before $after),)*
    ] };
    ($side:ident $field:ident $prefix:literal $flows:literal:
        $name:literal, $unit:literal, $learn:ident,
        $type:ident |$role:ident| $value:expr, $before:literal $after:literal) => {
        Feature {
            side: Some($side),
            ..$type(
                concat!($prefix, $name),
                $unit,
                host_features!($learn $prefix),
                |host| { let $role = &host.$field; $value },
                concat!($before, $flows, $after),
            )
        }
    };
    (RatioOfFlows $prefix:literal) => { RatioOf(concat!($prefix, "flows")) };
    ($learn:ident $prefix:literal) => { $learn };
}

/// The features of a host window: the host as initiator of flows (`source_…`) and as responder (`destination_…`).
#[rustfmt::skip]
pub const HOST_FEATURES: &[Feature<HostWindow>] = host_features! {
    "flows", "flows", Never, real |role| role.flows, "Flows" "";
    "new_flows", "flows", LogScaled, count |role| role.new_flows, "Flows" " within the window";
    "login_flows", "flows", LogScaled, count |role| role.login_flows,
        "Flows" " within the window, to services that begin with a login";
    "peers", "addresses", LogScaled, real |role| role.peers, "Other addresses in flows" "";
    "ports", "ports", LogScaled, real |role| role.ports, "Different ports of the responder in flows" "";
    "packets_out", "packets", LogScaled, count |role| role.packets_out, "Packets that it sent in flows" "";
    "packets_in", "packets", LogScaled, count |role| role.packets_in, "Packets that it received in flows" "";
    "bytes_out", "bytes", LogScaled, count |role| role.bytes_out, "IP bytes that it sent in flows" "";
    "bytes_in", "bytes", LogScaled, count |role| role.bytes_in, "IP bytes that it received in flows" "";
    "bytes_out_share", "share", Never, real |role| role.bytes_out_share(),
        "Share of sent bytes in the IP bytes of flows" "";
    "syn_share", "share", RatioOfFlows, real |role| role.syn_share(),
        "Share of packets with SYN and without ACK in flows" "";
    "syn_ack_share", "share", Never, real |role| role.syn_ack_share(), "Share of packets with SYN and ACK in flows" "";
    "rst_share", "share", RatioOfFlows, real |role| role.rst_share(), "Share of packets with RST in flows" "";
    "unanswered_share", "share", RatioOfFlows, real |role| role.unanswered_share(),
        "Share of the flows" " that were not answered";
    "small_packet_share", "share", RatioOfFlows, real |role| role.small_packet_share(),
        "Share of packets below 128 bytes in flows" "";
    "peer_entropy", "bits", RatioOfFlows, real |role| role.peer_entropy,
        "Entropy of the other address in flows" ": 0 if all flows have the same";
    "port_entropy", "bits", RatioOfFlows, real |role| role.port_entropy,
        "Entropy of the port of the responder in flows" ": 0 if all flows have the same";
};

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
