//! Parses any bytes as a frame of every link type, complete and cut off: each frame is in a flow or skipped.
//!
//! Only the parser runs, so that this target is fast.

use std::cell::RefCell;
use std::iter;

use flowml_common::content::PayloadLimit;
use flowml_common::headers::protocol;
use flowml_common::packet::{Frame, Hook, Packet, Segments, Skipped};
use flowml_common::parse::{parse, parse_behind};
use flowml_common::table::{Count, Metered, Shape, meter_levels, record, skip};
use flowml_common::tunnel::PortList;
use flowml_user::capture::file::link::LinkType;
use flowml_user::capture::vectors::VecTable;

use super::flows::SEED;
use super::input::WITHOUT_ETHERNET;

/// Each frame is also cut off at every quarter of its length, minus one byte. With eight link types the parser runs
/// forty times for an input.
const CUTS: usize = 4;

/// Bits of an input's first byte: the properties of a frame that a hook reports besides its bytes.
mod known {
    /// The kernel has stripped a tag from the frame.
    pub(super) const STRIPPED_VLAN: u8 = 1;
    /// The frame is a super-packet.
    pub(super) const SEGMENTS: u8 = 1 << 1;
    /// The frame was captured only partly.
    pub(super) const SNAPPED: u8 = 1 << 2;
}

thread_local! {
    /// One table for all inputs. It is emptied for each, which is faster than making a new one.
    static TABLE: RefCell<VecTable> = RefCell::new(
        VecTable::new(Shape::for_capacity(16), SEED).with_payload(PayloadLimit::new(64)),
    );
    /// The same, looking into tunnels.
    static INSIDE: RefCell<VecTable> = RefCell::new(
        VecTable::new(Shape::for_capacity(16), SEED)
            .with_payload(PayloadLimit::new(64))
            .with_tunnels(Some(PortList::default())),
    );
}

pub(super) fn run(input: &[u8]) {
    let Some((known, bytes)) = input.split_first() else { return };
    TABLE.with_borrow_mut(|table| {
        table.clear();
        for (link, time_ns) in iter::once(LinkType::Ethernet).chain(WITHOUT_ETHERNET).zip(1..) {
            meter(table, &frame(*known, bytes, time_ns), link, bytes);
        }
        check(table);
    });
    INSIDE.with_borrow_mut(|table| {
        table.clear();
        for (link, time_ns) in iter::once(LinkType::Ethernet).chain(WITHOUT_ETHERNET).zip(1..) {
            meter_inside(table, &frame(*known, bytes, time_ns), link, bytes);
        }
        check(table);
    });
}

/// Meters a frame, looking into tunnels. A packet that is in a flow without looking into tunnels is in a flow with it, too,
/// unless it ends within an authentication header.
fn meter_inside(table: &mut VecTable, frame: &Frame, link: LinkType, bytes: &[u8]) {
    let header = link.header(bytes).map(|(header, _)| header);
    if link != LinkType::Ethernet && header.is_none() {
        return skip(table, frame.wire_length(), Skipped::Truncated);
    }
    for cut in 1..=CUTS {
        let snapped = &bytes[..(bytes.len() * cut / CUTS).saturating_sub(1)];
        let before = table.counts().received.packets;
        let ports = PortList::default();
        let metered = meter_levels(table, frame, header.as_ref(), snapped, &snapped, &ports, Skipped::Truncated);
        let packets = table.counts().received.packets - before;
        assert!(packets > 0, "{metered:?}, and nothing was received");
        if parsed(frame, link, snapped).is_ok_and(|packet| packet.key.protocol() != protocol::AUTHENTICATION) {
            let has_flow = matches!(metered, Metered::Counted | Metered::Skipped(Skipped::TableFull));
            assert!(has_flow, "{metered:?}, but it has an outer flow");
        }
    }
    let _ = meter_levels(table, frame, header.as_ref(), bytes, &bytes, &PortList::default(), Skipped::Truncated);
}

fn frame(known: u8, bytes: &[u8], time_ns: u64) -> Frame {
    let is = |bit: u8| known & bit != 0;
    let more = if is(known::SNAPPED) { 1400 } else { 0 };
    let segments = Segments { count: u32::from(known >> 3), size: 536 };
    Frame {
        time_ns,
        length: bytes.len() as u32 + more,
        interface: 1,
        hook: Hook::Xdp,
        stripped_vlan: is(known::STRIPPED_VLAN).then_some(100),
        segments: is(known::SEGMENTS).then_some(segments),
    }
}

fn meter(table: &mut VecTable, frame: &Frame, link: LinkType, bytes: &[u8]) {
    let whole = parsed(frame, link, bytes);
    for cut in 1..=CUTS {
        let snapped = parsed(frame, link, &bytes[..(bytes.len() * cut / CUTS).saturating_sub(1)]);
        if let (Ok(snapped), Ok(whole)) = (snapped, whole) {
            let of = |packet: Packet| (packet.key, packet.count, packet.frame_bytes);
            assert_eq!(of(snapped), of(whole), "a partly captured packet in a flow has the same key and counts");
        }
    }
    match whole {
        Ok(packet) => {
            assert!(packet.count > 0 && packet.frame_bytes > 0, "a packet of nothing");
            record(table, &packet, &bytes);
        }
        Err(reason) => skip(table, frame.wire_length(), reason),
    }
}

fn parsed(frame: &Frame, link: LinkType, bytes: &[u8]) -> Result<Packet, Skipped> {
    if link == LinkType::Ethernet {
        return parse(frame, bytes);
    }
    let (header, behind) = link.header(bytes).ok_or(Skipped::Truncated)?;
    parse_behind(frame, &header, behind)
}

/// Checks that received = in flows + skipped.
fn check(table: &VecTable) {
    let mut sum = Count::default();
    for flow in table.flows() {
        let stats = flow.partial_flow().stats;
        sum.add(stats.packets(), stats.frame_bytes());
    }
    let head = table.counts();
    head.skipped.iter().for_each(|count| sum.add(count.packets, count.bytes));
    assert_eq!(sum, head.received, "received = in flows + skipped");
}
