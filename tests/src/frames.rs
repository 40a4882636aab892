//! Frames for tests: a builder that computes correct lengths and checksums, and then adds the requested errors.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::lab::Mac;

mod mutation;
mod named;

pub use mutation::mutate;
pub use named::{DISCARDED_BEFORE_TC, NAMED, Named};

/// Ethertypes and tag protocol identifiers (IEEE 802 numbers).
pub mod ether_type {
    #![expect(missing_docs, reason = "the names are those of the registry")]
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const MPLS: u16 = 0x8847;
    pub const EAPOL: u16 = 0x888e;
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// Outer VLAN tags of switches from before IEEE 802.1ad. They were never registered.
    pub const OLDER_SERVICE_VLANS: [u16; 3] = [0x9100, 0x9200, 0x9300];
    pub const LLDP: u16 = 0x88cc;
    pub const LOCAL_EXPERIMENT: u16 = 0x88b5;
}

/// IP protocol numbers (IANA).
pub mod protocol {
    #![expect(missing_docs, reason = "the names are those of the registry")]
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const OSPF: u8 = 89;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
    pub const EXPERIMENT: u8 = 253;
}

/// TCP flags, as bits of byte 13 of the header (RFC 9293 §3.1).
pub mod flag {
    #![expect(missing_docs, reason = "the names are those of the RFC")]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const URG: u8 = 0x20;
    pub const ECE: u8 = 0x40;
    pub const CWR: u8 = 0x80;
}

/// Length of the shortest Ethernet frame without its check sequence, in bytes (IEEE 802.3 §4.2.3.3).
pub const SHORTEST: usize = 60;

/// A locally administered unicast address that no interface of a laboratory has. A host discards a frame to it right
/// after the program on its interface has seen it.
pub const NOBODY: Mac = Mac([2, 0xff, 0xff, 0xff, 0xff, 0xff]);

const SOURCE_MAC: Mac = Mac([2, 0x77, 0, 0, 0, 1]);
const DESTINATION_MAC: Mac = Mac([2, 0x77, 0, 0, 0, 2]);

/// The parts of a frame, as positions for [`Frame::poke`] and [`Frame::cut`]. If there are several of a kind, the last
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The Ethernet header.
    Ethernet,
    /// A VLAN tag: the two bytes of tag control information, then the next ethertype.
    Tag,
    /// The IP header.
    Ip,
    /// An IPv6 extension header, or AH.
    Extension,
    /// The header above IP.
    Transport,
    /// Everything after the last header.
    Payload,
}

/// Fields of an IPv4 header. The builder computes lengths, protocol and checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of RFC 791 §3.1")]
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// DSCP and ECN.
    pub traffic_class: u8,
    pub identification: u16,
    pub fragment: Option<Fragment>,
    pub ttl: u8,
    /// Padded with End of Option List to a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self {
            source: Ipv4Addr::new(10, 77, 0, 1),
            destination: Ipv4Addr::new(10, 77, 0, 2),
            traffic_class: 0,
            identification: 0,
            fragment: None,
            ttl: 64,
            options: Vec::new(),
        }
    }
}

/// Position of a fragment in its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in units of eight bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
}

impl Fragment {
    /// The first of several fragments.
    pub const FIRST: Self = Self { offset: 0, more: true };
    /// A fragment between the first and the last.
    pub const MIDDLE: Self = Self { offset: 185, more: true };
    /// The last of several fragments.
    pub const LAST: Self = Self { offset: 370, more: false };
    /// The whole datagram after a fragment header (RFC 6946).
    pub const ATOMIC: Self = Self { offset: 0, more: false };
}

/// Fields of an IPv6 header. The builder computes payload length and next header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of RFC 8200 §3")]
pub struct Ipv6 {
    pub source: Ipv6Addr,
    pub destination: Ipv6Addr,
    pub traffic_class: u8,
    pub flow_label: u32,
    pub hop_limit: u8,
}

impl Default for Ipv6 {
    fn default() -> Self {
        Self {
            source: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1),
            destination: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2),
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 64,
        }
    }
}

/// A header between the IP header and the transport header (RFC 8200 §4, RFC 4302).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// Filled with PadN. Its length is 8 bytes, plus 8 for each unit.
    HopByHop {
        /// Value of the length field.
        units: u8,
    },
    /// A source route of type 4 without segments left. Its length is 8 bytes, plus 8 for each unit.
    Routing {
        /// Value of the length field.
        units: u8,
    },
    /// Filled with PadN. Its length is 8 bytes, plus 8 for each unit.
    DestinationOptions {
        /// Value of the length field.
        units: u8,
    },
    /// Always 8 bytes.
    Fragment(Fragment),
    /// Authentication header. Its length field counts units of *four* bytes, less two.
    Authentication {
        /// Length of the integrity check value in words of four bytes. An odd number keeps IPv6's alignment to 8 bytes.
        icv_words: u8,
    },
}

impl Extension {
    fn protocol(self) -> u8 {
        match self {
            Self::HopByHop { .. } => protocol::HOP_BY_HOP,
            Self::Routing { .. } => protocol::ROUTING,
            Self::DestinationOptions { .. } => protocol::DESTINATION_OPTIONS,
            Self::Fragment(_) => protocol::FRAGMENT,
            Self::Authentication { .. } => protocol::AH,
        }
    }

    /// The header, with zero as its first byte, the next header.
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::HopByHop { units } | Self::DestinationOptions { units } => {
                let length = 8 + 8 * usize::from(units);
                // PadN (RFC 8200 §4.2) holds at most 255 bytes: enough for 32 units.
                let mut header = vec![0, units, 1, (length - 4) as u8];
                header.resize(length, 0);
                header
            }
            Self::Routing { units } => {
                let mut header = vec![0, units, 4, 0];
                header.resize(8 + 8 * usize::from(units), 0);
                header
            }
            Self::Fragment(fragment) => {
                let [high, low] = (fragment.offset << 3 | u16::from(fragment.more)).to_be_bytes();
                vec![0, 0, high, low, 0, 0, 0x77, 0x77]
            }
            Self::Authentication { icv_words } => {
                let mut header = vec![0, icv_words + 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
                header.resize(12 + 4 * usize::from(icv_words), 0xa5);
                header
            }
        }
    }
}

/// Fields of a TCP header. The builder computes data offset and checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of RFC 9293 §3.1")]
pub struct Tcp {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgment: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    pub window: u16,
    /// Padded with End of Option List to a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            source_port: 40000,
            destination_port: 443,
            sequence: 1,
            acknowledgment: 1,
            flags: flag::ACK,
            window: 64240,
            options: Vec::new(),
        }
    }
}

/// Ports of a UDP or SCTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of RFC 768")]
pub struct Ports {
    pub source: u16,
    pub destination: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { source: 40000, destination: 53 }
    }
}

/// Where to write the number of the next header.
#[derive(Debug, Clone, Copy)]
enum Next {
    EtherType(usize),
    Protocol(usize),
    Fixed,
}

/// A frame that is being built. Each call adds a header after those before. [`Frame::finish`] fills in what depends on
/// the rest: lengths, numbers of next headers, checksums.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Vec<u8>,
    next: Next,
    layers: Vec<(Layer, usize)>,
    /// The number of the transport protocol, for the checksum.
    transport: Option<u8>,
    padded_to: usize,
    pokes: Vec<(usize, Vec<u8>)>,
    cut: Option<usize>,
}

impl Default for Frame {
    fn default() -> Self {
        Self::between(SOURCE_MAC, DESTINATION_MAC)
    }
}

impl Frame {
    /// Starts a frame with an Ethernet header.
    pub fn between(source: Mac, destination: Mac) -> Self {
        let bytes = [&destination.0[..], &source.0, &[0, 0]].concat();
        let layers = vec![(Layer::Ethernet, 0)];
        Self { bytes, next: Next::EtherType(12), layers, transport: None, padded_to: 0, pokes: vec![], cut: None }
    }

    /// Adds a VLAN tag: `tpid` is the ethertype that announces it, `tci` holds priority, DEI and the VLAN id.
    #[must_use]
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.announce(tpid, 0);
        self.begin(Layer::Tag);
        self.bytes.extend(tci.to_be_bytes());
        self.next = Next::EtherType(self.bytes.len());
        self.bytes.extend([0, 0]);
        self
    }

    /// Adds a payload other than IP after the Ethernet header.
    #[must_use]
    pub fn ether_type(mut self, ether_type: u16, payload: &[u8]) -> Self {
        self.announce(ether_type, 0);
        self.payload(payload)
    }

    /// Adds an IPv4 header.
    #[must_use]
    pub fn ipv4(mut self, header: &Ipv4) -> Self {
        self.announce(ether_type::IPV4, protocol::IPV4);
        let start = self.begin(Layer::Ip);
        let options = padded_to_words(&header.options);
        let fragment = header.fragment.map_or(0, |part| part.offset | u16::from(part.more) << 13);
        self.bytes.extend([0x45 + (options.len() / 4) as u8, header.traffic_class, 0, 0]);
        self.bytes.extend(header.identification.to_be_bytes());
        self.bytes.extend(fragment.to_be_bytes());
        self.bytes.extend([header.ttl, 0, 0, 0]);
        self.bytes.extend(header.source.octets());
        self.bytes.extend(header.destination.octets());
        self.bytes.extend(options);
        self.next = Next::Protocol(start + 9);
        self
    }

    /// Adds an IPv6 header.
    #[must_use]
    pub fn ipv6(mut self, header: &Ipv6) -> Self {
        self.announce(ether_type::IPV6, protocol::IPV6);
        let start = self.begin(Layer::Ip);
        let first = 6 << 28 | u32::from(header.traffic_class) << 20 | header.flow_label & 0xf_ffff;
        self.bytes.extend(first.to_be_bytes());
        self.bytes.extend([0, 0, 0, header.hop_limit]);
        self.bytes.extend(header.source.octets());
        self.bytes.extend(header.destination.octets());
        self.next = Next::Protocol(start + 6);
        self
    }

    /// Adds an extension header.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        self.announce(0, extension.protocol());
        let start = self.begin(Layer::Extension);
        self.bytes.extend(extension.bytes());
        self.next = Next::Protocol(start);
        self
    }

    /// Adds a TCP header.
    #[must_use]
    pub fn tcp(mut self, header: &Tcp) -> Self {
        self.begin_transport(protocol::TCP);
        let options = padded_to_words(&header.options);
        self.bytes.extend(header.source_port.to_be_bytes());
        self.bytes.extend(header.destination_port.to_be_bytes());
        self.bytes.extend(header.sequence.to_be_bytes());
        self.bytes.extend(header.acknowledgment.to_be_bytes());
        self.bytes.extend([(5 + (options.len() / 4) as u8) << 4, header.flags]);
        self.bytes.extend(header.window.to_be_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(options);
        self
    }

    /// Adds a UDP header.
    #[must_use]
    pub fn udp(mut self, ports: Ports) -> Self {
        self.begin_transport(protocol::UDP);
        self.bytes.extend(ports.source.to_be_bytes());
        self.bytes.extend(ports.destination.to_be_bytes());
        self.bytes.extend([0; 4]);
        self
    }

    /// Adds an SCTP common header.
    #[must_use]
    pub fn sctp(mut self, ports: Ports) -> Self {
        self.begin_transport(protocol::SCTP);
        self.bytes.extend(ports.source.to_be_bytes());
        self.bytes.extend(ports.destination.to_be_bytes());
        self.bytes.extend([0x77; 4]);
        self.bytes.extend([0; 4]);
        self
    }

    /// Adds an ICMP header: type, code, and the four bytes after the checksum.
    #[must_use]
    pub fn icmp(mut self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.begin_transport(protocol::ICMP);
        self.bytes.extend([kind, code, 0, 0]);
        self.bytes.extend(rest);
        self
    }

    /// Adds an ICMPv6 header, with the arguments of [`Self::icmp`].
    #[must_use]
    pub fn icmpv6(mut self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.begin_transport(protocol::ICMPV6);
        self.bytes.extend([kind, code, 0, 0]);
        self.bytes.extend(rest);
        self
    }

    /// Adds any other protocol above IP. Its header is part of the payload.
    #[must_use]
    pub fn protocol(mut self, number: u8, payload: &[u8]) -> Self {
        self.announce(0, number);
        self.next = Next::Fixed;
        self.begin(Layer::Transport);
        self.bytes.extend(payload);
        self
    }

    /// Adds bytes after the last header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.begin(Layer::Payload);
        self.bytes.extend(payload);
        self
    }

    /// Adds zeros after the IP packet, up to the length of the shortest Ethernet frame.
    #[must_use]
    pub fn padded(mut self) -> Self {
        self.padded_to = SHORTEST;
        self
    }

    /// Overwrites bytes of the finished frame, `offset` bytes into a layer. Lengths and checksums do not change.
    #[must_use]
    pub fn poke(mut self, layer: Layer, offset: usize, bytes: &[u8]) -> Self {
        self.pokes.push((self.start_of(layer) + offset, bytes.to_vec()));
        self
    }

    /// Ends the finished frame `offset` bytes into a layer. Headers do not change.
    #[must_use]
    pub fn cut(mut self, layer: Layer, offset: usize) -> Self {
        self.cut = Some(self.start_of(layer) + offset);
        self
    }

    /// The frame's bytes, without frame check sequence.
    pub fn finish(mut self) -> Vec<u8> {
        let ip_headers = self.layers.iter().filter(|(layer, _)| *layer == Layer::Ip).map(|(_, start)| *start);
        let ip_headers: Vec<usize> = ip_headers.collect();
        for &start in &ip_headers {
            self.fill_ip(start);
        }
        if let (Some(number), Some(&ip)) = (self.transport, ip_headers.last()) {
            self.fill_transport(number, ip);
        }
        let length = self.bytes.len().max(self.padded_to);
        self.bytes.resize(length, 0);
        for (offset, bytes) in &self.pokes {
            self.bytes[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        self.bytes.truncate(self.cut.unwrap_or(length));
        self.bytes
    }

    fn fill_ip(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        if self.bytes[start] >> 4 == 4 {
            self.put(start + 2, length as u16);
            let header_length = usize::from(self.bytes[start] & 0xf) * 4;
            let checksum = internet_checksum(&[&self.bytes[start..start + header_length]]);
            self.put(start + 10, checksum);
        } else {
            self.put(start + 4, (length - 40) as u16);
        }
    }

    fn fill_transport(&mut self, number: u8, ip: usize) {
        let start = self.start_of(Layer::Transport);
        let length = self.bytes.len() - start;
        if number == protocol::UDP {
            self.put(start + 4, length as u16);
        }
        let pseudo = self.pseudo_header(number, ip, length as u32);
        let segment = &self.bytes[start..];
        match number {
            protocol::TCP => self.put(start + 16, internet_checksum(&[&pseudo, segment])),
            // The value zero would mean that there is no checksum (RFC 768).
            protocol::UDP => self
                .put(start + 6, Some(internet_checksum(&[&pseudo, segment])).filter(|&sum| sum != 0).unwrap_or(0xffff)),
            protocol::ICMP => self.put(start + 2, internet_checksum(&[segment])),
            protocol::ICMPV6 => self.put(start + 2, internet_checksum(&[&pseudo, segment])),
            protocol::SCTP => {
                let checksum = crc32c(segment).to_le_bytes();
                self.bytes[start + 8..start + 12].copy_from_slice(&checksum);
            }
            _ => {}
        }
    }

    /// The bytes that TCP, UDP and ICMPv6 checksums cover besides their segment (RFC 9293 §3.1, RFC 8200 §8.1).
    fn pseudo_header(&self, number: u8, ip: usize, length: u32) -> Vec<u8> {
        let addresses = if self.bytes[ip] >> 4 == 4 { ip + 12..ip + 20 } else { ip + 8..ip + 40 };
        [&self.bytes[addresses], &length.to_be_bytes(), &[0, 0, 0, number]].concat()
    }

    fn put(&mut self, offset: usize, value: u16) {
        self.bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
    }

    fn announce(&mut self, ether_type: u16, protocol: u8) {
        match self.next {
            Next::EtherType(offset) => self.put(offset, ether_type),
            Next::Protocol(offset) => self.bytes[offset] = protocol,
            Next::Fixed => {}
        }
    }

    fn begin(&mut self, layer: Layer) -> usize {
        let start = self.bytes.len();
        self.layers.push((layer, start));
        start
    }

    fn begin_transport(&mut self, number: u8) {
        self.announce(0, number);
        self.next = Next::Fixed;
        self.transport = Some(number);
        self.begin(Layer::Transport);
    }

    fn start_of(&self, layer: Layer) -> usize {
        let last = self.layers.iter().rev().find(|(kind, _)| *kind == layer);
        last.unwrap_or_else(|| panic!("the frame has no {layer:?} layer")).1
    }
}

fn padded_to_words(options: &[u8]) -> Vec<u8> {
    let mut padded = options.to_vec();
    padded.resize(options.len().next_multiple_of(4), 0);
    padded
}

/// The checksum of RFC 1071. All parts but the last have an even length.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 = words.map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u64::from(low))).sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    const REFLECTED_POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { REFLECTED_POLYNOMIAL } else { 0 })
    })
}
