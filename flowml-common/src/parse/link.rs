//! The link layer: its header fields and its VLAN tags.

use crate::cursor::Cursor;
use crate::headers::{Mac, Vlan, ethertype};
use crate::packet::{Frame, Skipped};

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
pub(super) struct Link {
    pub(super) macs: [Mac; 2],
    pub(super) vlan: u16,
    pub(super) inner_vlan: u16,
    pub(super) ethertype: u16,
    /// Number of bytes in the frame before the IP header.
    pub(super) length: u32,
}

#[inline(always)]
pub(super) fn parse_tags<C: Cursor>(frame: &Frame, header: &LinkHeader, cursor: &mut C) -> Result<Link, Skipped> {
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

/// Reads the tags of a level of tunnels after `tags` earlier ones, at most two in total. Not shared with [`parse_tags`],
/// because the compiler would make other programs for frames outside of tunnels.
#[inline(always)]
pub(super) fn take_tags<C: Cursor>(cursor: &mut C, link: &mut Link, tags: u8) -> Result<(), Skipped> {
    if is_vlan(link.ethertype) {
        let tags = take_vlan(cursor, link, tags)?;
        if tags < 2 && is_vlan(link.ethertype) {
            take_vlan(cursor, link, tags)?;
        }
    }
    Ok(())
}

/// The VLAN id in the tag control information (IEEE 802.1Q §9.6).
pub(super) const VLAN_ID: u16 = 0x0fff;

#[inline(always)]
pub(super) const fn is_vlan(ethertype: u16) -> bool {
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
