//! The headers of tunnels, up to what is inside.

use crate::cursor::Cursor;
use crate::headers::{Be16, Be32, Ethernet, ethertype, protocol};
use crate::tunnel::{Outcome, TunnelKind};

use super::link::is_vlan;

/// The largest label stack of MPLS that is read.
const MAX_LABELS: u32 = 6;

/// The largest number of extension headers of GTP-U that are read.
const MAX_GTP_EXTENSIONS: u32 = 4;

/// What is inside a tunnel.
pub(super) struct Inside {
    /// The EtherType of the content; [`ethertype::BRIDGED`] for an Ethernet frame.
    pub(super) ethertype: u16,
    /// Length of the header of the tunnel, in bytes.
    pub(super) length: u32,
    /// The number of the tunnel; 0 without one.
    pub(super) id: u32,
}

/// Reads the header of a tunnel of the kind with this number, after an IP header of this protocol.
#[inline(always)]
pub(super) fn enter<C: Cursor + Copy>(kind: u8, protocol: u8, cursor: C) -> Result<Inside, Outcome> {
    const VXLAN: u8 = TunnelKind::Vxlan as u8;
    const GENEVE: u8 = TunnelKind::Geneve as u8;
    const GRE: u8 = TunnelKind::Gre as u8;
    const GTPU: u8 = TunnelKind::Gtpu as u8;
    const MPLS: u8 = TunnelKind::Mpls as u8;
    const PPPOE: u8 = TunnelKind::Pppoe as u8;
    match kind {
        VXLAN => vxlan(cursor),
        GENEVE => geneve(cursor),
        GRE => gre(cursor),
        GTPU => gtpu(cursor),
        MPLS => mpls(cursor),
        PPPOE => pppoe(cursor),
        _ => {
            let ethertype = if protocol == protocol::IPV4 { ethertype::IPV4 } else { ethertype::IPV6 };
            Ok(Inside { ethertype, length: 0, id: 0 })
        }
    }
}

#[inline(always)]
fn take<T: bytemuck::Pod, C: Cursor>(cursor: &mut C) -> Result<T, Outcome> {
    cursor.take().ok_or(Outcome::Truncated)
}

/// The EtherType of IP by the version in its first byte.
const fn of_version(first: u8) -> Option<u16> {
    match first >> 4 {
        4 => Some(ethertype::IPV4),
        6 => Some(ethertype::IPV6),
        _ => None,
    }
}

/// Whether the content of a tunnel with EtherTypes is read.
const fn is_read(ethertype: u16) -> bool {
    matches!(
        ethertype,
        ethertype::IPV4 | ethertype::IPV6 | ethertype::BRIDGED | ethertype::MPLS | ethertype::MPLS_UPSTREAM
    )
}

/// RFC 7348 §5: flags, three reserved bytes, VNI (24 bits), a reserved byte.
#[inline(always)]
fn vxlan<C: Cursor>(mut cursor: C) -> Result<Inside, Outcome> {
    let [flags, id]: [Be32; 2] = take(&mut cursor)?;
    if flags.get() & 0x0800_0000 == 0 {
        return Err(Outcome::Unknown);
    }
    Ok(Inside { ethertype: ethertype::BRIDGED, length: 8, id: id.get() >> 8 })
}

/// RFC 8926 §3.4: version (2 bits), length of the options in four bytes (6), flags (8), EtherType, VNI (24), a reserved
/// byte, options.
#[inline(always)]
fn geneve<C: Cursor>(mut cursor: C) -> Result<Inside, Outcome> {
    let [first, id]: [Be32; 2] = take(&mut cursor)?;
    let (first, ethertype) = (first.get(), first.get() as u16);
    if first >> 30 != 0 || !is_read(ethertype) {
        return Err(Outcome::Unknown);
    }
    Ok(Inside { ethertype, length: 8 + (first >> 24 & 0x3f) * 4, id: id.get() >> 8 })
}

/// RFC 2784 and RFC 2890: flags, EtherType, then checksum, key and sequence number if their flags are set.
#[inline(always)]
fn gre<C: Cursor>(mut cursor: C) -> Result<Inside, Outcome> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    /// Routing (RFC 1701), and the version, which is 1 for PPTP (RFC 2637).
    const OTHER: u16 = 0x4007;
    let [flags, ethertype]: [Be16; 2] = take(&mut cursor)?;
    let (flags, ethertype) = (flags.get(), ethertype.get());
    if flags & OTHER != 0 || !is_read(ethertype) {
        return Err(Outcome::Unknown);
    }
    let mut inside = Inside { ethertype, length: 4, id: 0 };
    if flags & CHECKSUM != 0 {
        cursor.skip(4).ok_or(Outcome::Truncated)?;
        inside.length += 4;
    }
    if flags & KEY != 0 {
        inside.id = take::<Be32, C>(&mut cursor)?.get();
        inside.length += 4;
    }
    if flags & SEQUENCE != 0 {
        inside.length += 4;
    }
    Ok(inside)
}

/// 3GPP TS 29.281 §5.1: flags, message type, length, TEID, and with any of three flags four bytes more, the last of which
/// is the type of the first extension header.
#[inline(always)]
fn gtpu<C: Cursor>(mut cursor: C) -> Result<Inside, Outcome> {
    /// Version 1 of GTP (not GTP').
    const VERSION: u32 = 0x3000_0000;
    /// The message that contains a packet.
    const PACKET: u32 = 0x00ff_0000;
    const EXTENDED: u32 = 0x0400_0000;
    const MORE: u32 = 0x0700_0000;
    let [first, id]: [Be32; 2] = take(&mut cursor)?;
    let first = first.get();
    if first & 0xf0ff_0000 != VERSION | PACKET {
        return Err(Outcome::Unknown);
    }
    let mut length = 8;
    if first & MORE != 0 {
        let [_, _, _, next]: [u8; 4] = take(&mut cursor)?;
        length += 4;
        if first & EXTENDED != 0 {
            length += gtp_extensions(&mut cursor, next)?;
        }
    }
    let version: u8 = take(&mut cursor)?;
    let ethertype = of_version(version).ok_or(Outcome::Unknown)?;
    Ok(Inside { ethertype, length, id: id.get() })
}

/// The length of the extension headers of GTP-U (§5.2.1). Each has its length in four bytes, its content, and the type of
/// the next.
#[inline(always)]
fn gtp_extensions<C: Cursor>(cursor: &mut C, mut next: u8) -> Result<u32, Outcome> {
    let mut length = 0;
    for _ in 0..MAX_GTP_EXTENSIONS {
        if next == 0 {
            return Ok(length);
        }
        let words: u8 = take(cursor)?;
        if words == 0 {
            return Err(Outcome::Malformed);
        }
        let bytes = u16::from(words) * 4;
        cursor.skip(bytes - 2).ok_or(Outcome::Truncated)?;
        next = take(cursor)?;
        length = cursor.forget(length + u32::from(bytes));
    }
    if next == 0 { Ok(length) } else { Err(Outcome::Unknown) }
}

/// RFC 3032 §2.1: labels (20 bits), class (3), bottom of the stack (1), TTL (8). The content has no type. It is IP by its
/// first four bits, or an Ethernet frame with or without a control word.
#[inline(always)]
fn mpls<C: Cursor + Copy>(mut cursor: C) -> Result<Inside, Outcome> {
    const BOTTOM: u32 = 1 << 8;
    for n in 1..=MAX_LABELS {
        let label = take::<Be32, C>(&mut cursor)?.get();
        if label & BOTTOM != 0 {
            let (ethertype, control) = mpls_content(cursor)?;
            return Ok(Inside { ethertype, length: 4 * n + control, id: label >> 12 });
        }
    }
    Err(Outcome::Unknown)
}

/// The EtherType of the content of MPLS, and the length of its control word.
///
/// Ethernet is only recognised where it is unambiguous: an EtherType is in one of the two places, and not in the other.
/// The first four bits of a control word are 0, and the twelve after them are reserved (RFC 4448 §4.6).
#[inline(always)]
fn mpls_content<C: Cursor + Copy>(mut cursor: C) -> Result<(u16, u32), Outcome> {
    let mut ahead = cursor;
    let word = take::<Be32, C>(&mut ahead)?.get();
    let first = (word >> 24) as u8;
    if let Some(ethertype) = of_version(first) {
        return Ok((ethertype, 0));
    }
    // An associated channel (RFC 5586).
    if first >> 4 == 1 {
        return Err(Outcome::Unknown);
    }
    let Ethernet { ethertype: plain, .. } = take(&mut cursor)?;
    let Ethernet { ethertype: controlled, .. } = take(&mut ahead)?;
    match (is_content(plain.get()), word >> 16 == 0 && is_content(controlled.get())) {
        (true, false) => Ok((ethertype::BRIDGED, 0)),
        (false, true) => Ok((ethertype::BRIDGED, 4)),
        _ => Err(Outcome::Unknown),
    }
}

/// Whether an Ethernet frame with this EtherType may contain IP.
const fn is_content(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::IPV4 | ethertype::IPV6) || is_vlan(ethertype)
}

/// RFC 2516 §4: version and type, code, session, length, then the protocol of PPP.
#[inline(always)]
fn pppoe<C: Cursor>(mut cursor: C) -> Result<Inside, Outcome> {
    const VERSION_AND_CODE: u16 = 0x1100;
    let [start, session, _, protocol]: [Be16; 4] = take(&mut cursor)?;
    let ethertype = match (start.get(), protocol.get()) {
        (VERSION_AND_CODE, 0x0021) => ethertype::IPV4,
        (VERSION_AND_CODE, 0x0057) => ethertype::IPV6,
        _ => return Err(Outcome::Unknown),
    };
    Ok(Inside { ethertype, length: 8, id: session.get().into() })
}
