//! Random filter expressions in the language of libpcap, with values that occur in given packets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flowml_common::headers::Mac;
use flowml_common::packet::Packet;
use rand::Rng;
use rand::seq::SliceRandom;

/// Values that occur in packets.
#[derive(Debug, Default)]
pub struct Values {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
    protocols: BTreeSet<u8>,
    vlans: BTreeSet<u16>,
    macs: BTreeSet<Mac>,
    lengths: BTreeSet<u32>,
}

impl Values {
    /// Adds the values of a packet.
    pub fn add(&mut self, packet: &Packet) {
        let key = &packet.key;
        for end in [packet.sender, packet.sender.opposite()].map(|sender| key.endpoint(sender)) {
            self.addresses.insert(end.address.to_ip());
            if key.has_ports() {
                self.ports.insert(end.port);
            }
        }
        self.protocols.insert(key.protocol());
        self.vlans.extend(key.vlans().into_iter().filter(|vlan| *vlan > 0));
        self.macs.extend(packet.macs);
        self.lengths.insert(packet.frame_bytes);
    }
}

/// Makes expressions.
pub struct Expressions<R> {
    random: R,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    protocols: Vec<u8>,
    vlans: Vec<u16>,
    macs: Vec<Mac>,
    lengths: Vec<u32>,
}

/// Keywords that are a primitive.
const ALONE: [&str; 14] = [
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "sctp",
    "ip",
    "ip6",
    "arp",
    "igmp",
    "esp",
    "ip multicast",
    "ip6 multicast",
    "ether multicast",
    "broadcast",
];

impl<R: Rng> Expressions<R> {
    /// Expressions of these values.
    pub fn new(random: R, values: Values) -> Self {
        let Values { addresses, ports, protocols, vlans, macs, lengths } = values;
        Self {
            random,
            addresses: addresses.into_iter().collect(),
            ports: ports.into_iter().collect(),
            protocols: protocols.into_iter().collect(),
            vlans: vlans.into_iter().collect(),
            macs: macs.into_iter().collect(),
            lengths: lengths.into_iter().collect(),
        }
    }

    /// A random expression.
    pub fn any(&mut self) -> String {
        let depth = self.random.gen_range(0..=4);
        self.expression(depth)
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> Option<T> {
        values.choose(&mut self.random).cloned()
    }

    fn expression(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.primitive();
        }
        let (one, other) = (self.expression(depth - 1), self.expression(depth - 1));
        // Without parentheses, the connections are evaluated from left to right.
        match self.random.gen_range(0..8) {
            0 => format!("not {one}"),
            1 => format!("! ({one})"),
            2 | 3 => format!("{one} and {other}"),
            4 => format!("{one} or {other}"),
            5 => format!("({one} or {other})"),
            6 => format!("{one} && ({other})"),
            _ => one,
        }
    }

    fn primitive(&mut self) -> String {
        match self.random.gen_range(0..20) {
            0..4 => self.of(&ALONE).unwrap_or("ip").to_owned(),
            4..8 => self.address(),
            8..13 => self.ports(),
            13 => self.range(),
            14 | 15 => self.protocol(),
            16 => self.vlan(),
            17 => self.ethernet(),
            _ => self.length(),
        }
    }

    fn side(&mut self) -> &'static str {
        self.of(&["", "", "src ", "dst ", "src or dst ", "src and dst "]).unwrap_or("")
    }

    fn address(&mut self) -> String {
        let side = self.side();
        let addresses = self.addresses.clone();
        let Some(address) = self.of(&addresses) else { return "ip6".to_owned() };
        let version = match self.random.gen_range(0..4) {
            0 if address.is_ipv4() => "ip ",
            0 => "ip6 ",
            _ => "",
        };
        match self.random.gen_range(0..5) {
            0 | 1 => format!("{version}{side}net {}", self.prefix(address)),
            2 if version.is_empty() => {
                let others: Vec<IpAddr> =
                    addresses.iter().copied().filter(|other| other.is_ipv4() == address.is_ipv4()).collect();
                let other = self.of(&others).unwrap_or(address);
                let connection = self.of(&["or", "and not", "and"]).unwrap_or("or");
                format!("{side}host {address} {connection} {other}")
            }
            3 if !side.is_empty() => format!("{version}{side}{address}"),
            _ => format!("{version}{side}host {address}"),
        }
    }

    fn prefix(&mut self, address: IpAddr) -> String {
        match address {
            IpAddr::V4(address) => {
                let bits = self.random.gen_range(0..=32);
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                format!("{}/{bits}", std::net::Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let bits = self.random.gen_range(0..=128);
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                format!("{}/{bits}", std::net::Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        }
    }

    fn port(&mut self) -> u16 {
        let ports = self.ports.clone();
        let known = self.random.gen_bool(0.9);
        if known { self.of(&ports).unwrap_or(0) } else { self.random.r#gen() }
    }

    fn ports(&mut self) -> String {
        let protocol = self.of(&["", "", "tcp ", "udp ", "sctp "]).unwrap_or("");
        let (side, one, other) = (self.side(), self.port(), self.port());
        match self.random.gen_range(0..5) {
            0 => format!("{protocol}{side}port {one} or {other}"),
            1 => format!("{protocol}{side}port ({one} or {other})"),
            2 => format!("{protocol}{side}port {one} and not {other}"),
            _ => format!("{protocol}{side}port {one}"),
        }
    }

    fn range(&mut self) -> String {
        let protocol = self.of(&["", "tcp ", "udp "]).unwrap_or("");
        let (side, one, other) = (self.side(), self.port(), self.port());
        format!("{protocol}{side}portrange {one}-{other}")
    }

    fn protocol(&mut self) -> String {
        let protocols = self.protocols.clone();
        let number = self.of(&protocols).unwrap_or(6);
        match self.random.gen_range(0..5) {
            0 => format!("ip proto {number}"),
            1 => format!("ip6 proto {number}"),
            2 => "ether proto \\ip6".to_owned(),
            3 => "ip proto \\udp".to_owned(),
            _ => format!("proto {number}"),
        }
    }

    fn vlan(&mut self) -> String {
        let vlans = self.vlans.clone();
        let id = self.of(&vlans);
        match (id, self.random.gen_range(0..4)) {
            (Some(id), 0 | 1) => format!("vlan {id}"),
            (Some(id), 2) => format!("(vlan {id} and {})", self.primitive_in_tag()),
            _ => format!("(vlan and {})", self.primitive_in_tag()),
        }
    }

    fn primitive_in_tag(&mut self) -> String {
        match self.random.gen_range(0..4) {
            0 => "ip".to_owned(),
            1 => self.ports(),
            2 => self.address(),
            _ => "not tcp".to_owned(),
        }
    }

    fn ethernet(&mut self) -> String {
        let macs = self.macs.clone();
        let [a, b, c, d, e, f] = self.of(&macs).unwrap_or_default();
        let side = self.of(&["host", "src", "dst"]).unwrap_or("host");
        format!("ether {side} {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }

    fn length(&mut self) -> String {
        let lengths = self.lengths.clone();
        let bytes = self.of(&lengths).unwrap_or(60);
        match self.random.gen_range(0..4) {
            0 => format!("less {bytes}"),
            1 => format!("greater {bytes}"),
            _ => {
                let relation = self.of(&["<", "<=", ">", ">=", "=", "!="]).unwrap_or("<");
                format!("len {relation} {bytes}")
            }
        }
    }
}
