//! Tunnels: their kinds, the UDP ports by which they are recognised, what a flow keeps of its tunnel, and the counters.

mod kind;

use bytemuck::{Pod, Zeroable};

use crate::flow::Address;

pub use self::kind::TunnelKind;

/// The largest number of encapsulations that are removed from a packet.
pub const MAX_DEPTH: usize = 2;

/// The result for an encapsulation: it was removed, or the reason why the packet is in the flow around it. The value is
/// the index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// The encapsulation was removed: the packet is in a flow of what is inside.
    Removed = 0,
    /// There is no IP inside, or flowml cannot find it: ARP, a control message, an option of the tunnel that is not
    /// supported.
    Unknown = 1,
    /// The bytes end within the inner headers, or these start after [`FARTHEST`](crate::parse::FARTHEST).
    Truncated = 2,
    /// A header inside is inconsistent.
    Malformed = 3,
    /// The packet around it is an IP fragment. All fragments of a packet are in the outer flow.
    Fragment = 4,
}

impl Outcome {
    /// All of them, each at its index.
    pub const ALL: [Self; 5] = [Self::Removed, Self::Unknown, Self::Truncated, Self::Malformed, Self::Fragment];

    /// The name in summaries and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Unknown => "unknown",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Fragment => "fragment",
        }
    }
}

/// Numbers of packets by kind and [`Outcome`]. Each has a place for eight values, so that an index needs no branch.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct TunnelCounts([[u64; 8]; 8]);

impl Default for TunnelCounts {
    fn default() -> Self {
        Self::zeroed()
    }
}

impl TunnelCounts {
    /// Number of packets of this kind with this outcome.
    #[must_use]
    pub const fn of(&self, kind: TunnelKind, outcome: Outcome) -> u64 {
        self.0[kind as usize][outcome as usize]
    }

    /// Adds packets.
    #[inline(always)]
    pub(crate) fn add(&mut self, kind: u8, outcome: u8, packets: u64) {
        // In the kernel the masks are the bounds.
        self.0[usize::from(kind) & 7][usize::from(outcome) & 7] += packets;
    }

    /// Adds other numbers, each to its place.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened()) {
            *sum = sum.saturating_add(*more);
        }
    }

    /// Whether there are no packets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.as_flattened().iter().all(|number| *number == 0)
    }
}

/// The tunnel of the first packet of a flow: the addresses around it, and its number.
///
/// Both directions are one flow even if the number of the tunnel differs (GTP-U, MPLS). The number is then in no key, and
/// this is the one of the first packet.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Outer {
    /// The outer addresses on the sides of the lower and of the upper endpoint of the flow, as halves.
    addresses: [[u64; 2]; 2],
    id: u32,
    /// The version of the outer IP header, 0 without one.
    version: u8,
    reserved: [u8; 3],
}

impl Outer {
    /// The innermost IP addresses around the flow, on the sides of the lower and of the upper endpoint. `None` if there
    /// is no IP header around it (MPLS, PPPoE).
    #[must_use]
    pub const fn addresses(&self) -> Option<[Address; 2]> {
        let [lower, upper] = self.addresses;
        match self.version {
            4 => Some([Address::from_v4(lower[1] as u32), Address::from_v4(upper[1] as u32)]),
            6 => Some([Address::from_v6(lower[0], lower[1]), Address::from_v6(upper[0], upper[1])]),
            _ => None,
        }
    }

    /// The number of the tunnel: VNI, GRE key, TEID, the bottom label of MPLS, or PPPoE session. 0 without one.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Sets all of it. `around` are the halves of the source and the destination address around a packet, which the lower or
    /// the upper endpoint sent, and `version` is their version.
    #[inline(always)]
    pub(crate) const fn set(&mut self, is_lower: bool, around: [[u64; 2]; 2], version: u8, id: u32) {
        let [source, destination] = around;
        self.addresses = if is_lower { [source, destination] } else { [destination, source] };
        (self.version, self.id) = (version, id);
    }
}

/// The UDP destination ports of tunnels: a kind for each port.
pub trait TunnelPorts {
    /// Element `n` of the list, as [`PortList`] stores it.
    fn port(&self, n: usize) -> u32;

    /// The number of the kind whose destination port this is, 0 if there is none.
    #[inline(always)]
    fn kind_of(&self, port: u16) -> u8 {
        let mut kind = 0;
        for n in 0..PortList::LENGTH {
            let listed = self.port(n);
            if listed & 0xffff == u32::from(port) {
                kind = (listed >> 16) as u8;
            }
        }
        kind
    }
}

/// A list of UDP ports: `port | kind << 16` for each, 0 in unused elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct PortList(pub [u32; PORTS]);

/// See [`PortList::LENGTH`].
const PORTS: usize = 8;

impl PortList {
    /// The largest number of ports.
    pub const LENGTH: usize = PORTS;

    /// A list of these ports. `None` if there are more than [`LENGTH`](Self::LENGTH), or if a port is 0 or there twice.
    #[must_use]
    pub fn new(ports: impl IntoIterator<Item = (TunnelKind, u16)>) -> Option<Self> {
        let mut list = Self::zeroed();
        let mut places = list.0.iter_mut();
        let mut taken = [0; Self::LENGTH];
        for (n, (kind, port)) in ports.into_iter().enumerate() {
            if port == 0 || taken.iter().take(n).any(|other| *other == port) {
                return None;
            }
            *places.next()? = u32::from(port) | (kind as u32) << 16;
            *taken.get_mut(n)? = port;
        }
        Some(list)
    }

    /// The ports, with their kinds.
    pub fn ports(&self) -> impl Iterator<Item = (TunnelKind, u16)> {
        self.0.into_iter().filter_map(|listed| Some((TunnelKind::of((listed >> 16) as u8)?, listed as u16)))
    }
}

impl Default for PortList {
    /// IANA's ports, and the port that Linux uses for VXLAN without an option.
    fn default() -> Self {
        let port = |kind: TunnelKind, port: u16| u32::from(port) | (kind as u32) << 16;
        Self([
            port(TunnelKind::Vxlan, 4789),
            port(TunnelKind::Vxlan, 8472),
            port(TunnelKind::Geneve, 6081),
            port(TunnelKind::Gtpu, 2152),
            0,
            0,
            0,
            0,
        ])
    }
}

impl TunnelPorts for PortList {
    #[inline(always)]
    fn port(&self, n: usize) -> u32 {
        self.0.get(n).copied().unwrap_or(0)
    }
}

// The agent maps arrays of these into its memory.
const _: () = assert!(size_of::<Outer>() == 40 && size_of::<TunnelCounts>() == 512);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        for (n, kind) in (1..).zip(TunnelKind::ALL) {
            assert_eq!(TunnelKind::of(n), Some(kind));
            assert!(TunnelKind::ALL.iter().filter(|other| other.name() == kind.name()).count() == 1);
        }
        assert_eq!((TunnelKind::of(0), TunnelKind::of(8)), (None, None));
        for (n, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, n);
        }
    }

    #[test]
    fn the_default_ports_are_a_valid_list() {
        let default = PortList::default();
        assert_eq!(PortList::new(default.ports()), Some(default));
        assert_eq!(default.kind_of(4789), TunnelKind::Vxlan as u8);
        assert_eq!((default.kind_of(0), default.kind_of(53)), (0, 0));
    }

    #[test]
    fn a_list_with_too_many_or_repeated_ports_is_refused() {
        let many = |count: u16| PortList::new((1..=count).map(|port| (TunnelKind::Geneve, port)));
        assert!(many(8).is_some() && many(9).is_none());
        assert_eq!(PortList::new([(TunnelKind::Vxlan, 7), (TunnelKind::Gtpu, 7)]), None);
        assert_eq!(PortList::new([(TunnelKind::Vxlan, 0)]), None);
    }
}
