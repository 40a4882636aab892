//! The builder of frames: it computes correct lengths and checksums, and then adds the requested errors.

use super::checksum::{crc32c, internet_checksum};
use super::fields::{Extension, Ipv4, Ipv6, Layer, Ports, Tcp};
use super::numbers::{SHORTEST, ether_type, protocol};
use crate::lab::Mac;

const SOURCE_MAC: Mac = Mac([2, 0x77, 0, 0, 0, 1]);

const DESTINATION_MAC: Mac = Mac([2, 0x77, 0, 0, 0, 2]);

/// The position for the number of the next header.
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
