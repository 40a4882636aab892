//! The key of a flow: its two endpoints, its protocol, and where it was seen.

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable, must_cast_ref};

use crate::headers::protocol;
use crate::icmp::icmp_answer;
use crate::tunnel::TunnelKind;

/// The version of IP.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IpVersion {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// An address and its version. An IPv6 address is a 128-bit number. An IPv4 address is the number of its IPv4-mapped
/// IPv6 address (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2). The version is separate, because an IPv6 packet may have mapped
/// addresses, which are not IPv4 addresses.
///
/// Addresses are ordered by their 16 bytes in network byte order.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    high: u64,
    low: u64,
    version: IpVersion,
}

impl Hash for Address {
    /// Hashes the 16 bytes at once, which takes a third of the time of the three fields. The version is left out: few
    /// packets have an IPv6 address that an IPv4 address is mapped to.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from(self.high) << 64 | u128::from(self.low));
    }
}

impl Address {
    const V4_MAPPED: u64 = 0xffff_0000_0000;

    /// From an IPv4 address as a number in host byte order.
    #[inline(always)]
    pub const fn from_v4(address: u32) -> Self {
        Self { high: 0, low: Self::V4_MAPPED | address as u64, version: IpVersion::V4 }
    }

    /// From the upper and the lower half of an IPv6 address, in host byte order.
    #[inline(always)]
    pub const fn from_v6(high: u64, low: u64) -> Self {
        Self { high, low, version: IpVersion::V6 }
    }

    /// The 16 bytes in network byte order. For IPv4 they are those of the mapped address.
    pub const fn octets(self) -> [u8; 16] {
        (((self.high as u128) << 64) | self.low as u128).to_be_bytes()
    }

    /// The upper and the lower half, in host byte order.
    #[inline(always)]
    pub(crate) const fn halves(self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// The version of IP.
    pub const fn version(self) -> IpVersion {
        self.version
    }

    /// The address as a type of the standard library.
    pub const fn to_ip(self) -> IpAddr {
        match self.version {
            IpVersion::V4 => IpAddr::V4(Ipv4Addr::from_bits(self.low as u32)),
            IpVersion::V6 => IpAddr::V6(Ipv6Addr::from_bits((self.high as u128) << 64 | self.low as u128)),
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

/// An endpoint of a flow. The port is 0 for protocols without ports. For ICMP see [`icmp_answer`].
///
/// [`icmp_answer`]: crate::icmp::icmp_answer
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address.
    pub address: Address,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// Whether this endpoint is first in a key with `other`, which has the same IP version. A derived comparison would
    /// also compare the versions, for every packet.
    #[inline(always)]
    const fn is_first(&self, other: &Self) -> bool {
        let (one, two) = (&self.address, &other.address);
        if one.high != two.high {
            one.high < two.high
        } else if one.low != two.low {
            one.low < two.low
        } else {
            self.port <= other.port
        }
    }
}

/// The bits of the last word that do not depend on where the packet was seen: protocol, fragment, IPv6.
const OF_PACKET: u64 = 0x03ff << 32;
/// The lowest bit of the tunnel kind in the last word.
const TUNNEL: u32 = 42;
/// The lowest bit of the VLAN id in the last word, in a tunnel.
const TUNNEL_VLAN: u32 = 46;
const VLAN_ID: u16 = 0x0fff;

/// Number of 32-bit halves of words in a [`FlowKey`].
pub const KEY_HALVES: usize = size_of::<FlowKey>() / 4;

/// The key of a flow: 48 bytes, equal for both directions.
///
/// The words are: lower address (upper half, lower half), upper address (upper half, lower half), then
/// `lower port | upper port << 16 | interface << 32`, then
/// `VLAN | inner VLAN << 16 | protocol << 32 | fragment << 40 | IPv6 << 41`. In a tunnel the last word is
/// `tunnel id | protocol << 32 | fragment << 40 | IPv6 << 41 | tunnel kind << 42 | VLAN << 46`, where the VLAN is that of the
/// innermost Ethernet header.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "keys are equal exactly if their words are")]
#[repr(transparent)]
pub struct FlowKey([u64; 6]);

impl PartialEq for FlowKey {
    /// The derived comparison calls `memcmp`, which takes longer than the six words.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl FlowKey {
    /// The key of a flow between two endpoints of one version of IP, in any order. Also returns which endpoint of the
    /// key is the first one.
    #[inline(always)]
    pub(crate) const fn between(
        [one, other]: [Endpoint; 2],
        protocol: u8,
        later_fragment: bool,
        vlans: [u16; 2],
        interface: u32,
    ) -> (Self, Sender) {
        let (sender, ends) =
            if one.is_first(&other) { (Sender::Lower, [one, other]) } else { (Sender::Upper, [other, one]) };
        (Self::new(ends, protocol, later_fragment, vlans, interface), sender)
    }

    /// The key of a flow between two endpoints of one version of IP, the smaller first. `vlans` are the outer and the
    /// inner VLAN id; 0 without a VLAN tag.
    #[inline(always)]
    const fn new(ends: [Endpoint; 2], protocol: u8, later_fragment: bool, vlans: [u16; 2], interface: u32) -> Self {
        let [lower, upper] = ends;
        Self([
            lower.address.high,
            lower.address.low,
            upper.address.high,
            upper.address.low,
            lower.port as u64 | (upper.port as u64) << 16 | (interface as u64) << 32,
            vlans[0] as u64
                | (vlans[1] as u64) << 16
                | (protocol as u64) << 32
                | (later_fragment as u64) << 40
                | (matches!(lower.address.version, IpVersion::V6) as u64) << 41,
        ])
    }

    /// The endpoint that is `sender`.
    pub const fn endpoint(&self, sender: Sender) -> Endpoint {
        let (high, low, port) = match sender {
            Sender::Lower => (self.0[0], self.0[1], self.0[4] as u16),
            Sender::Upper => (self.0[2], self.0[3], (self.0[4] >> 16) as u16),
        };
        Endpoint { address: Address { high, low, version: self.ip_version() }, port }
    }

    /// The version of IP.
    pub const fn ip_version(&self) -> IpVersion {
        if self.0[5] >> 41 & 1 == 1 { IpVersion::V6 } else { IpVersion::V4 }
    }

    /// Interface index.
    pub const fn interface(&self) -> u32 {
        (self.0[4] >> 32) as u32
    }

    /// Outer and inner VLAN id; 0 without a VLAN tag. In a tunnel only the outer tag of the innermost Ethernet header is in
    /// the key.
    pub const fn vlans(&self) -> [u16; 2] {
        if self.tunnel_number() == 0 {
            [self.0[5] as u16, (self.0[5] >> 16) as u16]
        } else {
            [(self.0[5] >> TUNNEL_VLAN) as u16 & VLAN_ID, 0]
        }
    }

    /// The kind of the tunnel that the packets are in; `None` outside of tunnels.
    #[must_use]
    pub const fn tunnel(&self) -> Option<TunnelKind> {
        TunnelKind::of(self.tunnel_number())
    }

    /// The number of this tunnel, if it is in the key.
    #[must_use]
    pub const fn tunnel_id(&self) -> Option<u32> {
        match self.tunnel() {
            Some(kind) if kind.has_id_in_key() => Some(self.0[5] as u32),
            _ => None,
        }
    }

    const fn tunnel_number(&self) -> u8 {
        (self.0[5] >> TUNNEL) as u8 & 0xf
    }

    /// The same key for packets in a tunnel of the kind with this number. `id` is the number of the tunnel, or 0 if it
    /// differs between the directions.
    #[inline(always)]
    pub(crate) const fn in_tunnel(self, kind: u8, id: u32) -> Self {
        let mut words = self.0;
        let vlan = words[5] & VLAN_ID as u64;
        words[5] = words[5] & OF_PACKET | id as u64 | (kind as u64 & 0xf) << TUNNEL | vlan << TUNNEL_VLAN;
        Self(words)
    }

    /// The same key where `other` was seen: with its interface, VLAN ids and tunnel.
    #[must_use]
    pub(crate) const fn beside(self, other: &Self) -> Self {
        let mut words = self.0;
        words[4] = words[4] & 0xffff_ffff | other.0[4] & !0xffff_ffff;
        words[5] = words[5] & OF_PACKET | other.0[5] & !OF_PACKET;
        Self(words)
    }

    /// IP protocol number.
    pub const fn protocol(&self) -> u8 {
        (self.0[5] >> 32) as u8
    }

    /// Whether the packets are ICMP messages.
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol(), protocol::ICMP | protocol::ICMPV6)
    }

    /// Whether the messages are ICMP requests and their replies. Each endpoint then has the type of its messages as its
    /// port. For other messages, the port of the sender is the type and the port of the receiver is the code.
    pub const fn is_icmp_exchange(&self) -> bool {
        let [lower, upper] = [self.endpoint(Sender::Lower).port, self.endpoint(Sender::Upper).port];
        match icmp_answer(self.protocol(), lower as u8) {
            Some(answer) => !self.later_fragment() && answer as u16 == upper,
            None => false,
        }
    }

    /// Whether the packets are fragments after the first, which contain no ports.
    pub const fn later_fragment(&self) -> bool {
        self.0[5] >> 40 & 1 == 1
    }

    /// Whether the protocol has ports. For ICMP, type and code take their place.
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        matches!(self.protocol(), protocol::TCP | protocol::UDP | protocol::SCTP) && !self.later_fragment()
    }

    /// The same key for every interface, to join the two observations of a forwarded packet.
    #[must_use]
    pub const fn without_interface(self) -> Self {
        let mut words = self.0;
        words[4] &= 0xffff_ffff;
        Self(words)
    }

    /// Indices of the halves of words that belong to the upper halves of both addresses.
    pub(crate) const UPPER_HALVES: [usize; 4] = [0, 1, 4, 5];
    pub(crate) const LOWER_HALVES: [usize; 8] = [2, 3, 6, 7, 8, 9, 10, 11];

    /// Whether the upper halves of both addresses are zero, as for IPv4.
    #[inline(always)]
    pub(crate) const fn is_below_2_64(&self) -> bool {
        self.0[0] | self.0[2] == 0
    }

    /// The key as the input of the flow table's hash.
    #[inline(always)]
    pub(crate) fn halves(&self) -> &[u32; KEY_HALVES] {
        must_cast_ref(&self.0)
    }

    /// Equality with one branch: in the kernel a comparison field by field has six.
    #[inline(always)]
    pub(crate) const fn is(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5])) == 0
    }
}
