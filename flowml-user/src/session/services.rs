//! Ports of services: servers listen on them, and clients do not use them as source ports.

use flowml_common::headers::protocol;

/// System ports (RFC 6335 §6). They are service ports except one: an FTP server opens connections *from* it.
const SYSTEM: std::ops::RangeInclusive<u16> = 1..=1023;
const FTP_DATA: u16 = 20;

/// User ports of common servers, with their names in IANA's Service Name and Transport Protocol Port Number Registry,
/// or (in brackets) the names of the servers that use them in practice. Most of the registry's 5,000 user ports are not
/// listed, because clients use them too: a port of this list must belong to a service wherever it appears. All are
/// below 32,768, where the ports start that Linux assigns to clients (`ip_local_port_range`). IANA's range for clients
/// starts at 49,152 (RFC 6335 §6).
const USER: &[(u16, &str)] = &[
    (1080, "socks"),
    (1194, "openvpn"),
    (1433, "ms-sql-s"),
    (1434, "ms-sql-m"),
    (1521, "(oracle)"),
    (1701, "l2tp"),
    (1723, "pptp"),
    (1812, "radius"),
    (1813, "radius-acct"),
    (1883, "mqtt"),
    (1900, "ssdp"),
    (1935, "macromedia-fcs"),
    (2049, "nfs"),
    (2123, "gtp-control"),
    (2152, "gtp-user"),
    (2375, "docker"),
    (2376, "docker-s"),
    (2379, "etcd-client"),
    (2380, "etcd-server"),
    (3128, "(squid)"),
    (3260, "iscsi-target"),
    (3268, "msft-gc"),
    (3269, "msft-gc-ssl"),
    (3306, "mysql"),
    (3389, "ms-wbt-server"),
    (3478, "stun"),
    (3690, "svn"),
    (3868, "diameter"),
    (4369, "epmd"),
    (4500, "ipsec-nat-t"),
    (4789, "vxlan"),
    (5060, "sip"),
    (5061, "sips"),
    (5201, "(iperf3)"),
    (5222, "xmpp-client"),
    (5269, "xmpp-server"),
    (5353, "mdns"),
    (5355, "llmnr"),
    (5432, "postgresql"),
    (5671, "amqps"),
    (5672, "amqp"),
    (5683, "coap"),
    (5684, "coaps"),
    (5900, "rfb"),
    (5984, "couchdb"),
    (5985, "wsman"),
    (5986, "wsmans"),
    (6379, "redis"),
    (6443, "(kubernetes)"),
    (6514, "syslog-tls"),
    (6667, "ircu"),
    (6697, "ircs-u"),
    (8000, "irdmi"),
    (8008, "http-alt"),
    (8080, "http-alt"),
    (8081, "sunproxyadmin"),
    (8443, "pcsync-https"),
    (8883, "secure-mqtt"),
    (8888, "ddi-tcp-1"),
    (9042, "(cassandra)"),
    (9090, "websm"),
    (9092, "(kafka)"),
    (9100, "pdl-datastream"),
    (9200, "(elasticsearch)"),
    (9418, "git"),
    (10050, "zabbix-agent"),
    (10051, "zabbix-trapper"),
    (11211, "memcache"),
    (25565, "minecraft"),
    (27017, "mongodb"),
];

/// Services whose clients have a fixed port: DHCP and DHCPv6, as (server, client).
const PAIRS: [(u16, u16); 2] = [(67, 68), (547, 546)];

/// Whether this is the port of a service over TCP, UDP or SCTP.
pub(super) fn is_service(protocol: u8, port: u16) -> bool {
    let has_ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    let is_user = || USER.binary_search_by_key(&port, |(known, _)| *known).is_ok();
    has_ports && port != FTP_DATA && (SYSTEM.contains(&port) || is_user())
}

/// Whether `port` belongs to a service and `other` to its client. False if both are service ports, or neither is.
pub(super) fn is_service_to(protocol: u8, port: u16, other: u16) -> bool {
    let is_pair = |server, client| protocol == protocol::UDP && PAIRS.contains(&(server, client));
    is_pair(port, other) || is_service(protocol, port) && !is_service(protocol, other) && other != FTP_DATA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_below_the_ports_of_clients() {
        assert!(USER.is_sorted_by(|one, other| one.0 < other.0));
        assert!(USER.iter().all(|(port, _)| (1024..32_768).contains(port)));
    }

    #[test]
    fn a_port_is_a_service_to_an_endpoint_without_a_service_port() {
        let cases = [
            (protocol::TCP, 80, 40_000, true),
            (protocol::TCP, 8080, 40_000, true),
            (protocol::UDP, 53, 1024, true),
            (protocol::UDP, 123, 123, false),
            (protocol::UDP, 5353, 5353, false),
            (protocol::TCP, 2049, 1000, false),
            (protocol::TCP, 40_000, 50_000, false),
            (protocol::TCP, 20, 50_000, false),
            (protocol::TCP, 80, 20, false),
            (protocol::UDP, 67, 68, true),
            (protocol::UDP, 67, 67, false),
            (protocol::TCP, 67, 68, false),
            (protocol::UDP, 547, 546, true),
            (protocol::SCTP, 80, 40_000, true),
            (protocol::ICMP, 8, 0, false),
            (protocol::TCP, 0, 40_000, false),
        ];
        for (protocol, port, other, expected) in cases {
            assert_eq!(is_service_to(protocol, port, other), expected, "{protocol} {port} {other}");
            assert!(!(expected && is_service_to(protocol, other, port)), "{protocol} {port} {other}");
        }
    }
}
