//! The fields of headers, as the builder takes them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::numbers::{flag, protocol};

/// The parts of a frame, as positions for [`Frame::poke`](super::Frame::poke) and [`Frame::cut`](super::Frame::cut). If there are several of a kind, the last
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
    /// The complete datagram after a fragment header (RFC 6946).
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
    pub(super) fn protocol(self) -> u8 {
        match self {
            Self::HopByHop { .. } => protocol::HOP_BY_HOP,
            Self::Routing { .. } => protocol::ROUTING,
            Self::DestinationOptions { .. } => protocol::DESTINATION_OPTIONS,
            Self::Fragment(_) => protocol::FRAGMENT,
            Self::Authentication { .. } => protocol::AH,
        }
    }

    /// The header, with zero as its first byte, the next header.
    pub(super) fn bytes(self) -> Vec<u8> {
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
