//! A frame as a hook provides it, the packet that the parser makes of it, and the reasons why a frame is in no flow.

use crate::flow::{FlowKey, Sender};
use crate::headers::{Mac, Vlan};
use crate::icmp::is_icmp_error;
use crate::time::Stamp;

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
    pub(crate) const fn stripped_length(&self) -> u32 {
        if self.stripped_vlan.is_some() { size_of::<Vlan>() as u32 } else { 0 }
    }
}

/// The reason why a packet is in no flow. It is the error of the parser and the index of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Skipped {
    /// Neither IPv4 nor IPv6 after at most two VLAN tags: ARP, LLDP, MPLS, PPPoE, a third tag, …
    NotIp,
    /// The frame or its captured bytes end before the end of its headers, or before the end that the IP length states.
    Truncated,
    /// A header is inconsistent: wrong version, IHL below 5, lengths that do not include the headers.
    Malformed,
    /// More than [`MAX_EXTENSIONS`](crate::parse::MAX_EXTENSIONS) IPv6 extension headers.
    ExtensionChain,
    /// The headers are outside the linear part of a multi-buffer frame, where XDP cannot read.
    NotLinear,
    /// The flow table of this CPU was full. The packet is in the overflow counters of its protocol.
    TableFull,
    /// The number of the counting CPU is beyond those that the flow table was made for.
    NoPartition,
    /// The filter does not select the packet, which would be in a flow otherwise.
    Filtered,
}

impl Skipped {
    /// Number of reasons.
    pub const COUNT: usize = 8;

    /// All reasons, each at its index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NotIp,
        Self::Truncated,
        Self::Malformed,
        Self::ExtensionChain,
        Self::NotLinear,
        Self::TableFull,
        Self::NoPartition,
        Self::Filtered,
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
            Self::Filtered => "filtered",
        }
    }
}

/// A packet as the flow table counts it. A super-packet is several packets that differ only in length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The key of its flow.
    pub key: FlowKey,
    /// The direction of the packet in that flow.
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

impl Packet {
    /// Whether the packet is an ICMP error.
    #[inline(always)]
    pub const fn is_icmp_error(&self) -> bool {
        let kind = self.key.endpoint(self.sender).port as u8;
        !self.key.later_fragment() && is_icmp_error(self.key.protocol(), kind)
    }
}
