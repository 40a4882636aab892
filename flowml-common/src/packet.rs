//! The parser: it makes a [`Packet`] of a frame, for the flow table, or returns the reason why the frame is [`Skipped`].

use crate::cursor::Cursor;
use crate::flow::{Address, Endpoint, FlowKey};
use crate::headers::{Ethernet, Extension, Fragment, Icmp, Ipv4, Ipv6, Mac, Sctp, Tcp, Udp, Vlan, ethertype, protocol};
use crate::time::Stamp;

/// Number of IPv6 extension headers that are followed before the packet is skipped. More than six occur only in
/// attacks.
pub const MAX_EXTENSIONS: u32 = 8;

/// The hook that a frame passed. The values are bits, so that a flow can store all hooks that counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// XDP, native or generic: received frames.
    Xdp = 1,
    /// tc ingress: received frames, after GRO and VLAN stripping.
    Ingress = 2,
    /// tc egress: sent frames, before TSO and VLAN insertion.
    Egress = 4,
    /// A capture file.
    File = 8,
}

/// A buffer of several packets on the wire (GSO when sending, GRO when receiving).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Number of packets. 0 if the kernel has not counted them (`SKB_GSO_DODGY`).
    pub count: u32,
    /// Payload of each packet except the last, in bytes.
    pub size: u32,
}

/// The properties of a frame that are not in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Time of the frame, in ns of the caller's clock.
    pub time_ns: u64,
    /// Length from the link-layer header on, without FCS, in bytes. For a snapped capture it is the original length.
    pub length: u32,
    /// Interface index.
    pub interface: u32,
    /// The hook that it passed.
    pub hook: Hook,
    /// The tag control information that the NIC or the kernel has removed from the frame.
    pub stripped_vlan: Option<u16>,
    /// The segments, if the buffer is more than one packet.
    pub segments: Option<Segments>,
}

impl Frame {
    /// Length on the wire without FCS, in bytes. The removed tag is included.
    #[inline(always)]
    #[must_use]
    pub const fn wire_length(&self) -> u32 {
        self.length + self.stripped_length()
    }

    /// Length of the removed tag, in bytes.
    #[inline(always)]
    const fn stripped_length(&self) -> u32 {
        if self.stripped_vlan.is_some() { size_of::<Vlan>() as u32 } else { 0 }
    }
}

/// Why a packet is in no flow. The parser returns it as its error, and the counters are indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Skipped {
    /// Neither IPv4 nor IPv6 after at most two VLAN tags: ARP, LLDP, MPLS, PPPoE, a third tag, …
    NotIp,
    /// The frame or its captured bytes end before the end of its headers, or before the end that the IP length states.
    Truncated,
    /// A header is inconsistent: wrong version, IHL below 5, lengths that do not include the headers.
    Malformed,
    /// More than [`MAX_EXTENSIONS`] IPv6 extension headers.
    ExtensionChain,
    /// The headers are outside the linear part of a multi-buffer frame, where XDP cannot read.
    NotLinear,
    /// The flow table of this CPU was full. The packet is in the overflow counters of its protocol.
    TableFull,
    /// The number of the counting CPU is beyond those that the flow table was made for.
    NoPartition,
}

impl Skipped {
    /// Number of reasons.
    pub const COUNT: usize = 7;

    /// All reasons, each at its index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NotIp,
        Self::Truncated,
        Self::Malformed,
        Self::ExtensionChain,
        Self::NotLinear,
        Self::TableFull,
        Self::NoPartition,
    ];

    /// The name in summaries and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::ExtensionChain => "extension_chain",
            Self::NotLinear => "not_linear",
            Self::TableFull => "table_full",
            Self::NoPartition => "no_partition",
        }
    }
}

/// The endpoint of the flow that sent a packet, and the index of the statistics of that direction.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Sender {
    /// The first endpoint of the key.
    Lower = 0,
    /// The second endpoint of the key.
    Upper = 1,
}

impl Sender {
    /// The other endpoint.
    #[inline(always)]
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Lower => Self::Upper,
            Self::Upper => Self::Lower,
        }
    }
}

/// A packet as the flow table counts it. A super-packet is several packets that differ only in length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The key of its flow.
    pub key: FlowKey,
    /// Its direction in that flow.
    pub sender: Sender,
    /// The hook of the [`Frame`].
    pub hook: Hook,
    /// Time of the frame.
    pub time: Stamp,
    /// Number of packets on the wire, at least 1.
    pub count: u32,
    /// Frame bytes of all packets, without FCS.
    pub frame_bytes: u32,
    /// IP bytes of all packets (total length, therefore without padding).
    pub ip_bytes: u32,
    /// Number of bytes after the transport header of all packets. Without a transport header, after the IP header.
    pub payload_bytes: u32,
    /// IP total length of each packet except the last, in bytes.
    pub ip_length: u32,
    /// IP total length of the last or only packet, in bytes.
    pub last_ip_length: u32,
    /// Offset of the payload in the frame, in bytes.
    pub payload_offset: u32,
    /// Payload bytes of the first or only packet.
    pub first_payload_bytes: u32,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// TCP window without scaling; 0 for other protocols.
    pub window: u16,
    /// TCP sequence number; 0 for other protocols.
    pub sequence: u32,
    /// Time to live or hop limit, in hops.
    pub ttl: u8,
    /// Differentiated services code point.
    pub dscp: u8,
    /// Source and destination MAC address.
    pub macs: [Mac; 2],
}

/// The fields of a link-layer header, of any link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    /// Source and destination; zeroes if the link layer has none.
    pub macs: [Mac; 2],
    /// EtherType of the payload.
    pub ethertype: u16,
    /// Length of the header, in bytes.
    pub length: u32,
}

/// The link layer, including its VLAN tags.
struct Link {
    macs: [Mac; 2],
    vlan: u16,
    inner_vlan: u16,
    ethertype: u16,
    /// Number of bytes in the frame before the IP header.
    length: u32,
}

/// The IP layer, of either version.
struct Network {
    source: Address,
    destination: Address,
    protocol: u8,
    later_fragment: bool,
    ttl: u8,
    dscp: u8,
    /// IP total length, in bytes.
    ip_length: u32,
    /// Length of the IP header with options or extension headers, in bytes.
    header_length: u32,
}

/// The transport layer. All fields are zero for a protocol without ports.
#[derive(Default)]
struct Transport {
    source: u16,
    destination: u16,
    header_length: u32,
    tcp_flags: u8,
    window: u16,
    sequence: u32,
}

/// Parses a frame that starts with an Ethernet header.
///
/// # Errors
/// The reason why the frame belongs to no flow.
#[inline(always)]
pub fn parse<C: Cursor>(frame: &Frame, mut cursor: C) -> Result<Packet, Skipped> {
    let ethernet: Ethernet = cursor.take().ok_or(Skipped::Truncated)?;
    let header = LinkHeader {
        macs: [ethernet.source, ethernet.destination],
        ethertype: ethernet.ethertype.get(),
        length: size_of::<Ethernet>() as u32,
    };
    parse_behind(frame, &header, cursor)
}

/// Parses the part of a frame after its link-layer header: VLAN tags, IP, transport.
///
/// # Errors
/// The reason why the frame belongs to no flow.
#[inline(always)]
pub fn parse_behind<C: Cursor>(frame: &Frame, header: &LinkHeader, mut cursor: C) -> Result<Packet, Skipped> {
    let link = parse_tags(frame, header, &mut cursor)?;
    let mut network = match link.ethertype {
        ethertype::IPV4 => parse_ipv4(frame, &link, &mut cursor)?,
        ethertype::IPV6 => parse_ipv6(frame, &link, &mut cursor)?,
        _ => return Err(Skipped::NotIp),
    };
    network.header_length = cursor.forget(network.header_length);
    let transport = parse_transport(&network, &mut cursor)?;
    assemble(frame, &link, &network, &transport)
}

#[inline(always)]
fn parse_tags<C: Cursor>(frame: &Frame, header: &LinkHeader, cursor: &mut C) -> Result<Link, Skipped> {
    let LinkHeader { macs, ethertype, length } = *header;
    let mut link = Link { macs, vlan: 0, inner_vlan: 0, ethertype, length };
    let mut tags = 0;
    if let Some(control) = frame.stripped_vlan {
        link.vlan = control & VLAN_ID;
        tags = 1;
    }
    // Written out twice, so that the verifier sees constant offsets. Nested, so that an untagged frame needs one
    // comparison.
    if is_vlan(link.ethertype) {
        tags = take_vlan(cursor, &mut link, tags)?;
        if tags < 2 && is_vlan(link.ethertype) {
            take_vlan(cursor, &mut link, tags)?;
        }
    }
    Ok(link)
}

/// The VLAN id in the tag control information (IEEE 802.1Q §9.6).
const VLAN_ID: u16 = 0x0fff;

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(
        ethertype,
        ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_9100 | ethertype::QINQ_9200 | ethertype::QINQ_9300
    )
}

#[inline(always)]
fn take_vlan<C: Cursor>(cursor: &mut C, link: &mut Link, tags: u8) -> Result<u8, Skipped> {
    let tag: Vlan = cursor.take().ok_or(Skipped::Truncated)?;
    let id = tag.control.get() & VLAN_ID;
    if tags == 0 {
        link.vlan = id;
    } else {
        link.inner_vlan = id;
    }
    link.ethertype = tag.ethertype.get();
    link.length += size_of::<Vlan>() as u32;
    Ok(tags + 1)
}

/// The value of a length field that leaves the length open.
const TO_THE_END: u32 = 0;

/// The IP length from the header, or to the end of the frame if the header has [`TO_THE_END`].
///
/// A buffer that the sender or the NIC will segment has no length in its header. The stack writes 0 if the field is too
/// small (BIG TCP, RFC 2675), and drivers do so before segmentation offload. For a super-packet the field is not used.
#[inline(always)]
fn ip_length(frame: &Frame, link: &Link, said: u32) -> Result<u32, Skipped> {
    let there = frame.length.checked_sub(link.length).ok_or(Skipped::Truncated)?;
    if said == TO_THE_END || frame.segments.is_some() {
        return Ok(there);
    }
    if said > there { Err(Skipped::Truncated) } else { Ok(said) }
}

#[inline(always)]
fn parse_ipv4<C: Cursor>(frame: &Frame, link: &Link, cursor: &mut C) -> Result<Network, Skipped> {
    let ip: Ipv4 = cursor.take().ok_or(Skipped::Truncated)?;
    let header_length = ip.header_length();
    if ip.version() != 4 || header_length < Ipv4::LENGTH {
        return Err(Skipped::Malformed);
    }
    if header_length > Ipv4::LENGTH {
        cursor.skip(header_length - Ipv4::LENGTH).ok_or(Skipped::Truncated)?;
    }
    let ip_length = ip_length(frame, link, u32::from(ip.total_length()))?;
    if ip_length < u32::from(header_length) {
        return Err(Skipped::Malformed);
    }
    Ok(Network {
        source: Address::from_v4(ip.source.get()),
        destination: Address::from_v4(ip.destination.get()),
        protocol: ip.protocol,
        later_fragment: ip.fragment_offset() != 0,
        ttl: ip.ttl,
        dscp: ip.dscp(),
        ip_length,
        header_length: u32::from(header_length),
    })
}

#[inline(always)]
fn parse_ipv6<C: Cursor>(frame: &Frame, link: &Link, cursor: &mut C) -> Result<Network, Skipped> {
    let ip: Ipv6 = cursor.take().ok_or(Skipped::Truncated)?;
    if ip.version() != 6 {
        return Err(Skipped::Malformed);
    }
    // RFC 2675 §3: a jumbogram has 0 here and its length in a hop-by-hop option. The length of the frame gives it too.
    // After No Next Header there is nothing (RFC 8200 §4.7), so 0 is the length, and the rest of the frame is padding.
    let said = match (ip.payload_length(), ip.next_header) {
        (0, next) if next != protocol::NO_NEXT_HEADER => TO_THE_END,
        (length, _) => u32::from(Ipv6::LENGTH) + u32::from(length),
    };
    let ip_length = ip_length(frame, link, said)?;
    let mut network = Network {
        source: Address::from_v6(ip.source[0].get(), ip.source[1].get()),
        destination: Address::from_v6(ip.destination[0].get(), ip.destination[1].get()),
        protocol: ip.next_header,
        later_fragment: false,
        ttl: ip.hop_limit,
        dscp: ip.dscp(),
        ip_length,
        header_length: u32::from(Ipv6::LENGTH),
    };
    follow_extensions(&mut network, cursor)?;
    if network.header_length > ip_length {
        return Err(Skipped::Malformed);
    }
    Ok(network)
}

/// Skips the extension headers (RFC 8200 §4). `protocol` becomes that of the payload.
#[inline(always)]
fn follow_extensions<C: Cursor>(network: &mut Network, cursor: &mut C) -> Result<(), Skipped> {
    for _ in 0..MAX_EXTENSIONS {
        let length = match network.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION => {
                let extension: Extension = cursor.take().ok_or(Skipped::Truncated)?;
                network.protocol = extension.next_header;
                extension.options_length()
            }
            protocol::AUTHENTICATION => {
                let extension: Extension = cursor.take().ok_or(Skipped::Truncated)?;
                network.protocol = extension.next_header;
                extension.authentication_length()
            }
            protocol::FRAGMENT => {
                let fragment: Fragment = cursor.take().ok_or(Skipped::Truncated)?;
                network.protocol = fragment.next_header;
                network.header_length = cursor.forget(network.header_length + u32::from(Fragment::LENGTH));
                if fragment.offset() != 0 {
                    // The following bytes are payload of the whole packet, not headers.
                    network.later_fragment = true;
                    return Ok(());
                }
                continue;
            }
            _ => return Ok(()),
        };
        // All three have at least 8 bytes, and 2 of them have been read.
        cursor.skip(length - size_of::<Extension>() as u16).ok_or(Skipped::Truncated)?;
        network.header_length = cursor.forget(network.header_length + u32::from(length));
    }
    match network.protocol {
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::DESTINATION
        | protocol::AUTHENTICATION
        | protocol::FRAGMENT => Err(Skipped::ExtensionChain),
        _ => Ok(()),
    }
}

#[inline(always)]
fn parse_transport<C: Cursor>(network: &Network, cursor: &mut C) -> Result<Transport, Skipped> {
    if network.later_fragment {
        return Ok(Transport::default());
    }
    let transport = match network.protocol {
        protocol::TCP => parse_tcp(cursor)?,
        protocol::UDP => {
            let udp: Udp = cursor.take().ok_or(Skipped::Truncated)?;
            ports(udp.source.get(), udp.destination.get(), Udp::LENGTH)
        }
        protocol::SCTP => {
            let sctp: Sctp = cursor.take().ok_or(Skipped::Truncated)?;
            ports(sctp.source.get(), sctp.destination.get(), Sctp::LENGTH)
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let icmp: Icmp = cursor.take().ok_or(Skipped::Truncated)?;
            let answer = icmp_answer(network.protocol, icmp.kind).unwrap_or(icmp.code);
            ports(u16::from(icmp.kind), u16::from(answer), Icmp::LENGTH)
        }
        _ => Transport::default(),
    };
    if network.header_length + transport.header_length > network.ip_length {
        return Err(Skipped::Malformed);
    }
    Ok(transport)
}

#[inline(always)]
fn ports(source: u16, destination: u16, header_length: u16) -> Transport {
    Transport { source, destination, header_length: u32::from(header_length), tcp_flags: 0, window: 0, sequence: 0 }
}

#[inline(always)]
fn parse_tcp<C: Cursor>(cursor: &mut C) -> Result<Transport, Skipped> {
    let tcp: Tcp = cursor.take().ok_or(Skipped::Truncated)?;
    let header_length = tcp.header_length();
    if header_length < Tcp::LENGTH {
        return Err(Skipped::Malformed);
    }
    Ok(Transport {
        tcp_flags: tcp.flags,
        window: tcp.window(),
        sequence: tcp.sequence(),
        ..ports(tcp.source.get(), tcp.destination.get(), header_length)
    })
}

/// The type of the reply to type `kind`, for messages that have replies. A request and its reply are one flow.
///
/// The pairs are those of the Community ID flow hash, version 1.
#[inline(always)]
pub const fn icmp_answer(protocol: u8, kind: u8) -> Option<u8> {
    Some(match (protocol, kind) {
        (protocol::ICMP, 8) => 0,
        (protocol::ICMP, 0) => 8,
        (protocol::ICMP, 9) => 10,
        (protocol::ICMP, 10) => 9,
        (protocol::ICMP, 13) => 14,
        (protocol::ICMP, 14) => 13,
        (protocol::ICMP, 15) => 16,
        (protocol::ICMP, 16) => 15,
        (protocol::ICMP, 17) => 18,
        (protocol::ICMP, 18) => 17,
        (protocol::ICMPV6, 128) => 129,
        (protocol::ICMPV6, 129) => 128,
        (protocol::ICMPV6, 130) => 131,
        (protocol::ICMPV6, 131) => 130,
        (protocol::ICMPV6, 133) => 134,
        (protocol::ICMPV6, 134) => 133,
        (protocol::ICMPV6, 135) => 136,
        (protocol::ICMPV6, 136) => 135,
        (protocol::ICMPV6, 139) => 140,
        (protocol::ICMPV6, 140) => 139,
        (protocol::ICMPV6, 144) => 145,
        (protocol::ICMPV6, 145) => 144,
        _ => return None,
    })
}

/// Whether the message is a request that has a reply.
pub const fn is_icmp_question(protocol: u8, kind: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(kind, 8 | 10 | 13 | 15 | 17),
        protocol::ICMPV6 => matches!(kind, 128 | 130 | 133 | 135 | 139 | 144),
        _ => false,
    }
}

/// Whether the message is an error. It reports to a host what happened to a packet that this host sent, and quotes the
/// packet. For IPv4 these are unreachable, source quench, redirect, time exceeded and parameter problem (RFC 1122
/// §3.2.2). For IPv6 they are the assigned types below 128 (RFC 4443 §2.1).
#[inline(always)]
pub const fn is_icmp_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        protocol::ICMPV6 => matches!(kind, 1..=4),
        _ => false,
    }
}

impl Packet {
    /// Whether the packet is an ICMP error.
    #[inline(always)]
    pub const fn is_icmp_error(&self) -> bool {
        let kind = self.key.endpoint(self.sender).port as u8;
        !self.key.later_fragment() && is_icmp_error(self.key.protocol(), kind)
    }
}

#[inline(always)]
fn assemble(frame: &Frame, link: &Link, network: &Network, transport: &Transport) -> Result<Packet, Skipped> {
    let source = Endpoint { address: network.source, port: transport.source };
    let destination = Endpoint { address: network.destination, port: transport.destination };
    let (key, sender) = FlowKey::between(
        [source, destination],
        network.protocol,
        network.later_fragment,
        [link.vlan, link.inner_vlan],
        frame.interface,
    );
    let headers = network.header_length + transport.header_length;
    let payload = network.ip_length - headers;
    let stripped = frame.stripped_length();
    let (count, size) = segment(frame, payload);
    let further = count - 1;
    Ok(Packet {
        key,
        sender,
        hook: frame.hook,
        time: Stamp::of_ns(frame.time_ns),
        count,
        frame_bytes: frame.length + stripped + further * (link.length + stripped + headers),
        ip_bytes: network.ip_length + further * headers,
        payload_bytes: payload,
        ip_length: headers + size,
        last_ip_length: headers + (payload - further * size),
        payload_offset: link.length + headers,
        first_payload_bytes: size,
        tcp_flags: transport.tcp_flags,
        window: transport.window,
        sequence: transport.sequence,
        ttl: network.ttl,
        dscp: network.dscp,
        macs: link.macs,
    })
}

/// The number of packets of a buffer on the wire, and the payload of each except the last, in bytes.
#[inline(always)]
fn segment(frame: &Frame, payload: u32) -> (u32, u32) {
    let Some(Segments { count, size }) = frame.segments else { return (1, payload) };
    let count = if count == 0 { payload.div_ceil(size.max(1)) } else { count };
    // A buffer of 64 KiB (512 KiB with BIG TCP) is never divided into more than `GSO_MAX_SEGS` segments, and all except
    // the last are full.
    let is_cut = count > 1 && count <= GSO_MAX_SEGS && u64::from(count - 1) * u64::from(size) <= u64::from(payload);
    if is_cut { (count, size) } else { (1, payload) }
}

/// The kernel's limit of segments for one buffer (`include/linux/netdevice.h`).
const GSO_MAX_SEGS: u32 = 65_535;
