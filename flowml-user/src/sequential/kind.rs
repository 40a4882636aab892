//! The kinds of incidents: their names, techniques of MITRE ATT&CK, and summary sentences.

use std::fmt::Write as _;

use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

/// The kind of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// One host tries many ports of another.
    PortScan,
    /// One host tries a port of many others.
    HostScan,
    /// Connections that are opened and not completed.
    SynFlood,
    /// Unanswered datagrams.
    UdpFlood,
    /// Echo requests.
    IcmpFlood,
    /// Answers without a request.
    Reflection,
    /// Far more connections to a service than before.
    HttpFlood,
    /// Many short, similar connections to one service.
    BruteForce,
    /// Connections that are kept open with hardly any data.
    SlowConnections,
    /// Connections at regular intervals.
    Beacon,
    /// Far more bytes than a host sent before.
    Exfiltration,
    /// Another protocol inside DNS queries or pings.
    Tunnel,
    /// Anomalous to a model, and not found by any test.
    Unusual,
}

/// The data of an incident for its sentence.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The attackers.
    pub sources: String,
    /// The victims.
    pub targets: String,
    /// The counts.
    pub evidence: Evidence,
    /// The duration, s.
    pub seconds: f64,
}

/// The counts of an incident. A count that a kind does not use is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// IP protocol.
    pub protocol: u8,
    /// The service's port; 0 if there is not one port.
    pub port: u16,
    /// Number of different ports or hosts that were tried, of connections, or of queries.
    pub attempts: u64,
    /// The number of failed attempts.
    pub failures: u64,
    /// Packets.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
    /// Time between two connections of a beacon, or between two tries of a scan that is slower than one in 100 s, ms.
    pub period_ms: u64,
}

impl Evidence {
    /// Adds counts of a later time, or of another pair of hosts.
    pub fn add(&mut self, other: &Self) {
        if other.protocol != 0 {
            self.protocol = other.protocol;
        }
        if self.port == 0 {
            self.port = other.port;
        }
        self.attempts += other.attempts;
        self.failures += other.failures;
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.period_ms = if other.period_ms > 0 { other.period_ms } else { self.period_ms };
    }

    /// `TCP port 80`.
    fn service(&self) -> String {
        match self.port {
            0 => self.protocol(),
            port => format!("{} port {port}", self.protocol()),
        }
    }

    fn protocol(&self) -> String {
        match self.protocol {
            protocol::TCP => "TCP".to_owned(),
            protocol::UDP => "UDP".to_owned(),
            protocol::SCTP => "SCTP".to_owned(),
            protocol::ICMP | protocol::ICMPV6 => "ICMP".to_owned(),
            number => format!("IP protocol {number}"),
        }
    }
}

/// Kinds that may belong to one event. A scan of many ports of many hosts, for example, is one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Scans.
    Scan,
    /// Floods.
    Flood,
    /// A family with only this kind.
    Own(Kind),
}

/// The properties of a kind.
struct Row {
    kind: Kind,
    name: &'static str,
    /// The technique's number in ATT&CK, version 15.
    technique: Option<&'static str>,
    family: Family,
}

const KINDS: [Row; 13] = [
    Row { kind: Kind::PortScan, name: "port_scan", technique: Some("T1046"), family: Family::Scan },
    Row { kind: Kind::HostScan, name: "host_scan", technique: Some("T1018"), family: Family::Scan },
    Row { kind: Kind::SynFlood, name: "syn_flood", technique: Some("T1499.001"), family: Family::Flood },
    Row { kind: Kind::UdpFlood, name: "udp_flood", technique: Some("T1498.001"), family: Family::Flood },
    Row { kind: Kind::IcmpFlood, name: "icmp_flood", technique: Some("T1498.001"), family: Family::Flood },
    Row { kind: Kind::Reflection, name: "reflection", technique: Some("T1498.002"), family: Family::Flood },
    Row { kind: Kind::HttpFlood, name: "http_flood", technique: Some("T1499.002"), family: Family::Flood },
    Row {
        kind: Kind::BruteForce,
        name: "brute_force",
        technique: Some("T1110"),
        family: Family::Own(Kind::BruteForce),
    },
    Row {
        kind: Kind::SlowConnections,
        name: "slow_connections",
        technique: Some("T1499.002"),
        family: Family::Own(Kind::SlowConnections),
    },
    Row { kind: Kind::Beacon, name: "beacon", technique: Some("T1071"), family: Family::Own(Kind::Beacon) },
    Row {
        kind: Kind::Exfiltration,
        name: "exfiltration",
        technique: Some("T1048"),
        family: Family::Own(Kind::Exfiltration),
    },
    Row { kind: Kind::Tunnel, name: "tunnel", technique: Some("T1572"), family: Family::Own(Kind::Tunnel) },
    Row { kind: Kind::Unusual, name: "unusual", technique: None, family: Family::Own(Kind::Unusual) },
];

impl Kind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|row| row.kind)
    }

    fn row(self) -> &'static Row {
        &KINDS[self as usize]
    }

    /// The name in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The technique of MITRE ATT&CK, if there is one for this kind.
    #[must_use]
    pub fn technique(self) -> Option<&'static str> {
        self.row().technique
    }

    /// The summary of an incident, one sentence.
    #[must_use]
    pub fn sentence(self, story: &Story) -> String {
        let Story { sources, targets, evidence, seconds } = story;
        let &Evidence { attempts, failures, packets, bytes, period_ms, port, .. } = evidence;
        let (protocol, service) = (evidence.protocol(), evidence.service());
        let (size, time, period) = (size(bytes), time(*seconds), time(period_ms as f64 / 1e3));
        match self {
            Self::PortScan => format!(
                "{sources} scanned {attempts} {protocol} ports of {targets} in {time}; {failures} were closed or silent"
            ),
            Self::HostScan => {
                format!("{sources} scanned {attempts} hosts for {service} in {time}; {failures} were closed or silent")
            }
            Self::SynFlood => format!(
                "{sources} flooded {targets} ({service}) with {attempts} connections in {time} that were never completed"
            ),
            Self::UdpFlood | Self::IcmpFlood => {
                format!("{sources} flooded {targets} with {packets} {protocol} packets ({size}) in {time}")
            }
            Self::Reflection => {
                let answers = packets.max(attempts);
                format!("{sources} sent {targets} {answers} unsolicited answers from {service} ({size}) in {time}")
            }
            Self::HttpFlood => format!("{sources} opened {attempts} connections to {service} of {targets} in {time}"),
            Self::BruteForce => format!(
                "{sources} opened {attempts} short, similar connections to {service} of {targets} in {time}, \
                 as in password guessing"
            ),
            Self::SlowConnections => format!(
                "{sources} kept {attempts} connections to {service} of {targets} open for {time} with almost no data"
            ),
            Self::Beacon => {
                format!("{sources} connected to {targets} ({service}) {attempts} times in {time}, every {period}")
            }
            Self::Exfiltration => format!("{sources} sent {size} to {targets} in {time}, far more than before"),
            Self::Tunnel => {
                let messages = if port == 53 { "names" } else { "pings" };
                format!("{sources} sent {targets} {size} in {packets} long {messages} in {time}")
            }
            Self::Unusual => unusual(sources, targets),
        }
    }

    /// The kinds with which it may be one event.
    #[must_use]
    pub fn family(self) -> Family {
        self.row().family
    }
}

fn unusual(sources: &str, targets: &str) -> String {
    let mut text = String::from("unusual traffic");
    for (word, hosts) in [("of", sources), ("to", targets)] {
        if !hosts.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, " {word} {hosts}");
        }
    }
    text
}

/// `0.4 s`, `12 s`, `3 min`.
fn time(seconds: f64) -> String {
    match seconds {
        ..9.95 => format!("{seconds:.1} s"),
        ..300.0 => format!("{seconds:.0} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// `940 B`, `40.0 MB`.
fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        ..1e3 => format!("{bytes:.0} B"),
        ..1e6 => format!("{:.1} kB", bytes / 1e3),
        ..1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_row_and_a_unique_name() {
        let names: std::collections::BTreeSet<&str> = Kind::all().map(Kind::name).collect();
        assert_eq!(names.len(), KINDS.len());
        Kind::all().zip(&KINDS).for_each(|(kind, row)| assert_eq!(kind.row().name, row.name));
        assert_eq!(Kind::Unusual.technique(), None);
    }

    #[test]
    fn the_sentence_of_a_scan_is_readable() {
        let evidence = Evidence { protocol: 6, attempts: 946, failures: 944, ..Evidence::default() };
        let story = Story { sources: "10.77.1.7".to_owned(), targets: "10.77.1.1".to_owned(), evidence, seconds: 2.04 };
        let expected = "10.77.1.7 scanned 946 TCP ports of 10.77.1.1 in 2.0 s; 944 were closed or silent";
        assert_eq!(Kind::PortScan.sentence(&story), expected);
    }
}
