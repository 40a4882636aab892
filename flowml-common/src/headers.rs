//! Protocol headers as they are on the wire: the fixed parts, all fields in network byte order.
//!
//! The layout of each struct is that of the header (alignment 1). The methods return the fields as numbers.

use bytemuck::{Pod, Zeroable};

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Zeroable, Pod)]
#[repr(transparent)]
pub struct Be16([u8; 2]);

impl Be16 {
    /// The number in host byte order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

/// A 32-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Zeroable, Pod)]
#[repr(transparent)]
pub struct Be32([u8; 4]);

impl Be32 {
    /// The number in host byte order.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        u32::from_be_bytes(self.0)
    }
}

/// A 64-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Zeroable, Pod)]
#[repr(transparent)]
pub struct Be64([u8; 8]);

impl Be64 {
    /// The number in host byte order.
    #[inline(always)]
    pub const fn get(self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

/// A MAC address (IEEE 802 MAC-48).
pub type Mac = [u8; 6];

/// EtherTypes (IEEE 802 numbers) that the parser handles.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
    /// A service tag of switches older than IEEE 802.1ad, never registered with IEEE (`ETH_P_QINQ1` in Linux).
    pub const QINQ_9100: u16 = 0x9100;
    /// As [`QINQ_9100`] (`ETH_P_QINQ2` in Linux).
    pub const QINQ_9200: u16 = 0x9200;
    /// As [`QINQ_9100`] (`ETH_P_QINQ3` in Linux).
    pub const QINQ_9300: u16 = 0x9300;
    /// MPLS (RFC 3032 §5).
    pub const MPLS: u16 = 0x8847;
    /// MPLS with an upstream-assigned label (RFC 5332 §3).
    pub const MPLS_UPSTREAM: u16 = 0x8848;
    /// PPP over Ethernet, session stage (RFC 2516 §6).
    pub const PPPOE_SESSION: u16 = 0x8864;
    /// An Ethernet frame in GRE or Geneve (transparent Ethernet bridging, RFC 1701, RFC 7637 §3.2).
    pub const BRIDGED: u16 = 0x6558;
}

/// IP protocol numbers (IANA "Assigned Internet Protocol Numbers") that the parser handles.
pub mod protocol {
    /// IPv6 hop-by-hop options (RFC 8200 §4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// IGMP, group membership for IPv4 (RFC 3376).
    pub const IGMP: u8 = 2;
    /// IPv4 in IP (RFC 2003).
    pub const IPV4: u8 = 4;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 in IP (RFC 4213).
    pub const IPV6: u8 = 41;
    /// IPv6 routing header (RFC 8200 §4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: u8 = 44;
    /// Generic routing encapsulation (RFC 2784).
    pub const GRE: u8 = 47;
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// Reserved. No packet has it.
    pub const RESERVED: u8 = 255;
    /// No next header (RFC 8200 §4.7).
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 destination options (RFC 8200 §4.6).
    pub const DESTINATION: u8 = 60;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
}

/// Ethernet II (IEEE 802.3 §3.1.1, without preamble and FCS), 14 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Ethernet {
    /// Destination address.
    pub destination: Mac,
    /// Source address.
    pub source: Mac,
    /// EtherType of the payload, or of a VLAN tag.
    pub ethertype: Be16,
}

/// The rest of a VLAN tag after its EtherType (IEEE 802.1Q §9.6), 4 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Vlan {
    /// Priority (3 bits), drop eligible (1), VLAN id (12).
    pub control: Be16,
    /// EtherType of the payload, or of the next tag.
    pub ethertype: Be16,
}

/// IPv4 (RFC 791 §3.1) without options, 20 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Ipv4 {
    version_length: u8,
    service: u8,
    total_length: Be16,
    _identification: Be16,
    fragment: Be16,
    /// Time to live, in hops.
    pub ttl: u8,
    /// Protocol number of the payload.
    pub protocol: u8,
    _checksum: Be16,
    /// Source address.
    pub source: Be32,
    /// Destination address.
    pub destination: Be32,
}

impl Ipv4 {
    /// Length of the header without options, in bytes.
    pub const LENGTH: u16 = 20;

    /// IP version: 4 in a valid packet.
    #[inline(always)]
    pub const fn version(&self) -> u8 {
        self.version_length >> 4
    }

    /// Length of the header with options, in bytes: IHL × 4. It can be less than 20 in a malformed packet.
    #[inline(always)]
    pub const fn header_length(&self) -> u16 {
        (self.version_length as u16 & 0x0f) * 4
    }

    /// Differentiated services code point (RFC 2474 §3).
    #[inline(always)]
    pub const fn dscp(&self) -> u8 {
        self.service >> 2
    }

    /// Length of header and payload, in bytes. It is 0 in a buffer that is not segmented yet.
    #[inline(always)]
    pub const fn total_length(&self) -> u16 {
        self.total_length.get()
    }

    /// Offset of this fragment, in units of 8 bytes. It is 0 for the first fragment and for a packet that is not
    /// fragmented.
    #[inline(always)]
    pub const fn fragment_offset(&self) -> u16 {
        self.fragment.get() & 0x1fff
    }

    /// Offset and flag of more fragments: not 0 in a fragment, the first or a later one.
    #[inline(always)]
    pub const fn fragment_bits(&self) -> u16 {
        self.fragment.get() & 0x3fff
    }
}

/// IPv6 (RFC 8200 §3), 40 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Ipv6 {
    version_class: Be16,
    _flow_label: Be16,
    payload_length: Be16,
    /// Protocol number of the next header.
    pub next_header: u8,
    /// Hop limit, in hops.
    pub hop_limit: u8,
    /// Source address: upper and lower half.
    pub source: [Be64; 2],
    /// Destination address: upper and lower half.
    pub destination: [Be64; 2],
}

impl Ipv6 {
    /// Length of the fixed header, in bytes.
    pub const LENGTH: u16 = 40;

    /// IP version: 6 in a valid packet.
    #[inline(always)]
    pub const fn version(&self) -> u8 {
        (self.version_class.get() >> 12) as u8
    }

    /// Differentiated services code point (RFC 2474 §3).
    #[inline(always)]
    pub const fn dscp(&self) -> u8 {
        ((self.version_class.get() >> 6) & 0x3f) as u8
    }

    /// Length of everything after the fixed header, in bytes. It is 0 in a jumbogram (RFC 2675) and in a buffer that is
    /// not segmented yet.
    #[inline(always)]
    pub const fn payload_length(&self) -> u16 {
        self.payload_length.get()
    }
}

/// The first fields of every IPv6 extension header, 2 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Extension {
    /// Protocol number of the next header.
    pub next_header: u8,
    length: u8,
}

impl Extension {
    /// Length of a hop-by-hop, routing or destination options header, in bytes: (n + 1) × 8 (RFC 8200 §4.3).
    #[inline(always)]
    pub const fn options_length(&self) -> u16 {
        (self.length as u16 + 1) * 8
    }

    /// Length of an authentication header, in bytes: (n + 2) × 4 (RFC 4302 §2.2).
    #[inline(always)]
    pub const fn authentication_length(&self) -> u16 {
        (self.length as u16 + 2) * 4
    }
}

/// IPv6 fragment header (RFC 8200 §4.5), 8 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Fragment {
    /// Protocol number of the next header in the unfragmented packet.
    pub next_header: u8,
    _reserved: u8,
    offset: Be16,
    _identification: Be32,
}

impl Fragment {
    /// Length of the header, in bytes.
    pub const LENGTH: u16 = 8;

    /// Offset of this fragment, in units of 8 bytes. It is 0 for the first fragment.
    #[inline(always)]
    pub const fn offset(&self) -> u16 {
        self.offset.get() >> 3
    }

    /// Offset and flag of more fragments: 0 in an atomic fragment, which is a complete packet (RFC 6946).
    #[inline(always)]
    pub const fn fragment_bits(&self) -> u16 {
        self.offset.get() & 0xfff9
    }
}

/// TCP (RFC 9293 §3.1) without options, 20 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Tcp {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    sequence: Be32,
    _acknowledgment: Be32,
    data_offset: u8,
    /// CWR, ECE, URG, ACK, PSH, RST, SYN, FIN from the highest bit to the lowest.
    pub flags: u8,
    window: Be16,
    _checksum: Be16,
    _urgent: Be16,
}

impl Tcp {
    /// Length of the header without options, in bytes.
    pub const LENGTH: u16 = 20;

    /// Offset of the flags in the header, in bytes.
    pub const FLAGS_OFFSET: u32 = 13;

    /// Length of the header with options, in bytes: data offset × 4. It can be less than 20 in a malformed packet.
    #[inline(always)]
    pub const fn header_length(&self) -> u16 {
        (self.data_offset as u16 >> 4) * 4
    }

    /// The sequence number. In a SYN it is the initial sequence number.
    #[inline(always)]
    pub const fn sequence(&self) -> u32 {
        self.sequence.get()
    }

    /// The window field, without scaling.
    #[inline(always)]
    pub const fn window(&self) -> u16 {
        self.window.get()
    }
}

/// UDP (RFC 768), 8 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Udp {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    _length: Be16,
    _checksum: Be16,
}

impl Udp {
    /// Length of the header, in bytes.
    pub const LENGTH: u16 = 8;
}

/// SCTP's common header (RFC 9260 §3.1), 12 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Sctp {
    /// Source port.
    pub source: Be16,
    /// Destination port.
    pub destination: Be16,
    _tag: Be32,
    _checksum: Be32,
}

impl Sctp {
    /// Length of the header, in bytes.
    pub const LENGTH: u16 = 12;
}

/// The first fields of ICMP (RFC 792) and ICMPv6 (RFC 4443 §2.1) messages, 4 bytes.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C)]
pub struct Icmp {
    /// Message type.
    pub kind: u8,
    /// Message code.
    pub code: u8,
    _checksum: Be16,
}

impl Icmp {
    /// Length of type, code and checksum, in bytes. Everything after them is counted as payload.
    pub const LENGTH: u16 = 4;
}
