//! Names the service of a flow by its protocol and ports, for display only; it is no feature.

use flowml_common::flow::{FlowKey, Sender};
use flowml_common::headers::protocol;

/// Names of protocols (IANA, Assigned Internet Protocol Numbers).
const PROTOCOLS: [(u8, &str); 11] = [
    (protocol::ICMP, "icmp"),
    (2, "igmp"),
    (4, "ipip"),
    (protocol::TCP, "tcp"),
    (protocol::UDP, "udp"),
    (47, "gre"),
    (50, "esp"),
    (protocol::ICMPV6, "icmpv6"),
    (89, "ospf"),
    (112, "vrrp"),
    (protocol::SCTP, "sctp"),
];

const TCP: u8 = protocol::TCP;
const UDP: u8 = protocol::UDP;

/// Names of common services (IANA, Service Name and Transport Protocol Port Number Registry).
const SERVICES: [(u8, u16, &str); 36] = [
    (TCP, 21, "ftp"),
    (TCP, 22, "ssh"),
    (TCP, 23, "telnet"),
    (TCP, 25, "smtp"),
    (TCP, 53, "dns"),
    (UDP, 53, "dns"),
    (UDP, 67, "dhcp"),
    (UDP, 68, "dhcp"),
    (TCP, 80, "http"),
    (TCP, 110, "pop3"),
    (UDP, 123, "ntp"),
    (TCP, 143, "imap"),
    (UDP, 161, "snmp"),
    (TCP, 179, "bgp"),
    (TCP, 389, "ldap"),
    (TCP, 443, "https"),
    (UDP, 443, "quic"),
    (TCP, 445, "smb"),
    (UDP, 514, "syslog"),
    (TCP, 587, "smtp"),
    (TCP, 853, "dns-tls"),
    (TCP, 993, "imaps"),
    (UDP, 1194, "openvpn"),
    (TCP, 1433, "mssql"),
    (TCP, 3306, "mysql"),
    (TCP, 3389, "rdp"),
    (UDP, 4500, "ipsec"),
    (UDP, 4789, "vxlan"),
    (TCP, 5201, "iperf3"),
    (UDP, 5201, "iperf3"),
    (UDP, 5353, "mdns"),
    (TCP, 5432, "postgres"),
    (TCP, 6379, "redis"),
    (TCP, 8080, "http"),
    (TCP, 9092, "kafka"),
    (UDP, 51820, "wireguard"),
];

/// The protocol's name, or its number.
pub(crate) fn protocol_name(number: u8) -> String {
    let found = PROTOCOLS.iter().find(|(known, _)| *known == number);
    found.map_or_else(|| format!("ip/{number}"), |(_, name)| (*name).to_owned())
}

/// The name of the service at the responder's port. If that port is unknown, it is the name at the initiator's port, as
/// the start of the flow may be missing and the roles reversed. If both are unknown, it is the name of the protocol.
pub(crate) fn service_name(key: &FlowKey, initiator: Sender) -> String {
    if key.later_fragment() {
        return format!("{} frag", protocol_name(key.protocol()));
    }
    let ports = [Sender::Lower, Sender::Upper].map(|end| key.endpoint(end).port);
    let [source, destination] = if initiator == Sender::Lower { ports } else { [ports[1], ports[0]] };
    let known = |port: u16| SERVICES.iter().find(|(protocol, known, _)| (*protocol, *known) == (key.protocol(), port));
    let found = known(destination).or_else(|| known(source));
    found.map_or_else(|| protocol_name(key.protocol()), |(_, _, name)| (*name).to_owned())
}
