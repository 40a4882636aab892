//! The single tests that primitives consist of.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use flowml_common::filter::{Field, Kind};

/// A test of a field, without its jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) field: Field,
    pub(super) high_mask: u64,
    pub(super) high: u64,
    pub(super) low_mask: u64,
    pub(super) low: u64,
    pub(super) span: u64,
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// A prefix: the address, and the mask of its bits, as 128-bit numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) version: Version,
    address: u128,
    mask: u128,
}

impl Prefix {
    /// The addresses that have the bits of `mask` in common with an IPv4 address. `None` if the address has other bits.
    pub(super) fn of_v4(address: u32, mask: u32) -> Option<Self> {
        let mapped = Ipv4Addr::from_bits(address).to_ipv6_mapped().to_bits();
        // The upper bits are the same in all mapped addresses.
        let mask_of_mapped = !u128::from(u32::MAX) | u128::from(mask);
        (address & !mask == 0).then_some(Self { version: Version::V4, address: mapped, mask: mask_of_mapped })
    }

    /// The same for an IPv6 address and the length of a prefix, at most 128.
    pub(super) fn of_v6(address: Ipv6Addr, length: u32) -> Option<Self> {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let address = address.to_bits();
        (address & !mask == 0).then_some(Self { version: Version::V6, address, mask })
    }
}

const fn halves(number: u128) -> [u64; 2] {
    [(number >> 64) as u64, number as u64]
}

impl Check {
    const fn low(field: Field, low_mask: u64, low: u64, span: u64) -> Self {
        Self { field, high_mask: 0, high: 0, low_mask, low, span }
    }

    /// The field is in a range.
    pub(super) const fn range(field: Field, range: &RangeInclusive<u64>) -> Self {
        let (first, last) = (*range.start(), *range.end());
        Self::low(field, u64::MAX, first, last - first)
    }

    /// The address of the field is in a prefix.
    pub(super) const fn address(field: Field, prefix: &Prefix) -> Self {
        let ([high_mask, low_mask], [high, low]) = (halves(prefix.mask), halves(prefix.address));
        Self { field, high_mask, high, low_mask, low, span: 0 }
    }

    /// The bits of the kind that `mask` selects have a value.
    const fn kind(mask: u64, value: u64) -> Self {
        Self::low(Field::Kind, mask, value, 0)
    }

    /// The packet has this number of tags, and this version of IP if there is one.
    pub(super) fn packet(version: Option<Version>, tags: u8) -> Self {
        let of_version = version.map_or((0, 0), |version| match version {
            Version::V4 => (Kind::IPV6, 0),
            Version::V6 => (Kind::IPV6, Kind::IPV6),
        });
        Self::kind(Kind::TAGS | of_version.0, u64::from(tags) << Kind::TAGS_AT | of_version.1)
    }

    /// The same, and this protocol.
    pub(super) fn protocol(version: Option<Version>, tags: u8, protocol: u8) -> Self {
        let Self { low_mask, low, .. } = Self::packet(version, tags);
        Self::kind(low_mask | Kind::PROTOCOL, low | u64::from(protocol))
    }

    /// The packet has ports and this number of tags, and this protocol if there is one.
    pub(super) fn ports(tags: u8, protocol: Option<u8>) -> Self {
        let Self { low_mask, low, .. } =
            protocol.map_or_else(|| Self::packet(None, tags), |protocol| Self::protocol(None, tags, protocol));
        Self::kind(low_mask | Kind::PORTS, low | Kind::PORTS)
    }

    /// The packet has more than this number of tags.
    pub(super) fn has_tag(after: u8) -> Self {
        let least = u64::from(after) + 1;
        Self::low(Field::Kind, Kind::TAGS, least << Kind::TAGS_AT, Kind::TAGS - (least << Kind::TAGS_AT))
    }

    /// The tag after the first `after` ones has this VLAN id. Only two tags are read.
    pub(super) fn vlan(after: u8, id: u16) -> Option<Self> {
        let at = Kind::VLANS_AT.get(usize::from(after))?;
        Some(Self::kind(0xfff << at, u64::from(id) << at))
    }

    /// The packet is in a tunnel.
    pub(super) const fn in_tunnel() -> Self {
        let least = 1 << Kind::TUNNEL_AT;
        Self::low(Field::Kind, Kind::TUNNEL, least, Kind::TUNNEL - least)
    }

    /// The packet is in a tunnel of this kind, and with this number if there is one.
    pub(super) fn tunnel(kind: u8, id: Option<u32>) -> Self {
        let of_kind = Self::kind(Kind::TUNNEL, u64::from(kind) << Kind::TUNNEL_AT);
        id.map_or(of_kind, |id| Self { high_mask: u64::from(u32::MAX), high: id.into(), ..of_kind })
    }

    /// The destination is an IPv4 address with this first octet or a larger one.
    pub(super) const fn first_octet_of_v4(least: u8) -> Self {
        let least = (least as u64) << 24;
        Self::low(Field::Destination, 0xff00_0000, least, 0xff00_0000 - least)
    }

    /// The destination is an IPv6 address with this first octet.
    pub(super) const fn first_octet_of_v6(octet: u8) -> Self {
        let all = Self::low(Field::Destination, 0, 0, 0);
        Self { high_mask: 0xff << 56, high: (octet as u64) << 56, ..all }
    }

    /// The MAC address of the field has the bits of `mask` in common with this one.
    pub(super) const fn mac(field: Field, mask: u64, address: u64) -> Self {
        Self::low(field, mask, address, 0)
    }
}
