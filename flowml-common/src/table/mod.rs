//! The flow table: buckets of tags with an entry for each tag. One CPU fills it, and all of its entries are cleared
//! together.
//!
//! A *partition* is the table of one CPU in one epoch: a [`Head`], buckets of sixteen tags, and an entry for each tag.
//! A tag is 16 bits of the hash of the flow in that entry, or 0 if the entry is free. With two bytes for a flow, the
//! tags stay in the processor's cache when the entries are far too large for it: a packet waits for memory once.
//!
//! The hash gives each flow an entry, its *home*. When half of the entries are in use, three in four flows are at their
//! home. The processor predicts that and fetches the home while it reads the tag, so the wait starts with the hash and
//! not with the search. A flow whose home was taken is in another entry of that bucket, or in its second bucket. The
//! second bucket is searched only if the first is crowded or has the flow's tag for another flow. A new flow goes to
//! the emptier of the searched buckets. A third bucket is searched only if the others have no room: they are full, or
//! have the flow's tag for other flows. Up to a load of about 85 % a partition has room for every flow.
//!
//! Nothing is removed from a partition in use. If an entry was occupied when a flow was added, it is still occupied
//! when the flow is searched for.
//!
//! An entry is a partial flow that lies in one session. If a session may end before a packet, or a record may end by
//! the active timeout, the packet starts another entry of its flow ([`Boundaries`], [`ColdCounters`]). Therefore the
//! times at which the table is drained do not determine which packets are in a record. The previous entry is *retired*:
//! it stays where it is, but its tag is replaced by one that no flow has. The new entry takes the tag and a free entry
//! of the same bucket. A flow has only one entry with its tag, and is found as before.
//!
//! The algorithm is generic over its [`Storage`]: BPF maps in the kernel, vectors in userspace.
//!
//! [`Boundaries`]: crate::time::Boundaries
//! [`ColdCounters`]: crate::counts::ColdCounters

mod bucket;
mod head;
mod place;
mod search;
mod storage;

use bytemuck::Zeroable as _;

use crate::content::{FrameBytes, PayloadChunk, PayloadLimit};
use crate::cursor::Cursor;
use crate::filter::{ETHERNET, Filter, Subject, untagged_length};
use crate::packet::{Frame, Packet, Skipped};
use crate::parse::{Levels, LinkHeader, Progress, parse, parse_levels};
use crate::quote::KeptQuote;
use crate::time::Stamp;
use crate::tunnel::{Outer, PortList};

pub use self::bucket::{Bucket, SLOTS, entry_number, used};
pub use self::head::{Count, Head, OVERFLOW_PROTOCOLS, add_counts};
pub use self::place::{Seed, Shape};
pub use self::search::entry_of;
pub use self::storage::Storage;

use self::head::overflow_index;
use self::search::{Ready, ready};

/// The result of metering a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// The frame is in a flow.
    Counted,
    /// The frame is in no flow, for this reason.
    Skipped(Skipped),
}

/// The complete meter: parses a frame, and counts it in a flow or by the reason why it is in no flow. The cursor must
/// be at the start of the frame.
#[inline(always)]
pub fn meter<S: Storage, C: Cursor + FrameBytes + Copy>(storage: &mut S, frame: &Frame, cursor: C) -> Metered {
    match parse(frame, cursor) {
        Ok(packet) => record_selected(storage, &packet, &cursor, None, untagged_length(frame, ETHERNET)),
        Err(reason) => {
            skip(storage, frame.wire_length(), reason);
            Metered::Skipped(reason)
        }
    }
}

/// As [`meter`], and looks into tunnels. `header` is the header of the link layer if that is not Ethernet. Headers are
/// read at `cursor` and payload from `bytes`; both start at the start of the frame. `truncated` is the reason for a frame
/// whose bytes at `cursor` end within its headers.
pub fn meter_levels<S: Storage, C: Cursor + Copy, B: FrameBytes>(
    storage: &mut S,
    frame: &Frame,
    header: Option<&LinkHeader>,
    cursor: C,
    bytes: &B,
    ports: &PortList,
    truncated: Skipped,
) -> Metered {
    let mut levels = OwnLevels { cursor, progress: Progress::zeroed(), packet: None };
    levels.progress.begin(frame, header);
    let reason = parse_levels(frame, ports, &mut levels).err().unwrap_or(Skipped::NotIp);
    let OwnLevels { progress, packet, .. } = levels;
    let metered = match &packet {
        Some(packet) => {
            let header = header.map_or(ETHERNET, |header| header.length);
            record_selected(storage, packet, bytes, progress.outer(), untagged_length(frame, header))
        }
        None => {
            let reason = if reason == Skipped::Truncated { truncated } else { reason };
            skip(storage, frame.wire_length(), reason);
            Metered::Skipped(reason)
        }
    };
    count_tunnels(storage, &progress, metered, packet.map_or(1, |packet| packet.count));
    metered
}

/// The levels of a frame in own memory.
struct OwnLevels<C> {
    cursor: C,
    progress: Progress,
    packet: Option<Packet>,
}

impl<C: Cursor + Copy> Levels for OwnLevels<C> {
    type Cursor = C;

    fn start(&self) -> C {
        self.cursor
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn last(&mut self) -> Option<&mut Packet> {
        self.packet.as_mut()
    }

    fn keep(&mut self, packet: Packet) {
        self.packet = Some(packet);
    }
}

/// Counts the encapsulations of a frame of this number of packets. A packet for which the table was full is in none of
/// these counts: in a capture it is counted again.
#[inline(always)]
pub fn count_tunnels<S: Storage>(storage: &mut S, progress: &Progress, metered: Metered, packets: u32) {
    if metered == Metered::Skipped(Skipped::TableFull) {
        return;
    }
    for (kind, outcome) in progress.encapsulations() {
        if kind != 0 {
            storage.head().tunnels.add(kind, outcome, u64::from(packets));
        }
    }
}

/// Counts a frame that is in no flow.
#[inline(always)]
pub fn skip<S: Storage>(storage: &mut S, wire_length: u32, reason: Skipped) {
    // The number of packets in a skipped super-packet is unknown, so it counts as one buffer.
    storage.head().skip(reason, 1, u64::from(wire_length));
}

/// Counts a packet that the filter does not select.
#[inline(always)]
pub fn filter_out<S: Storage>(storage: &mut S, packet: &Packet) -> Metered {
    storage.head().skip(Skipped::Filtered, u64::from(packet.count), u64::from(packet.frame_bytes));
    Metered::Skipped(Skipped::Filtered)
}

/// As [`record_inside`], if the filter of the storage selects the packet. `untagged` is that of its frame
/// ([`untagged_length`]).
#[inline(always)]
pub fn record_selected<S: Storage, B: FrameBytes>(
    storage: &mut S,
    packet: &Packet,
    bytes: &B,
    outer: Option<&Outer>,
    untagged: u32,
) -> Metered {
    let is_selected = |filter: &Filter| filter.selects(&Subject::of(packet, untagged));
    if storage.filter().is_none_or(is_selected) {
        record_inside(storage, packet, bytes, outer)
    } else {
        filter_out(storage, packet)
    }
}

/// Counts a packet in its flow, or as overflow if the table has no room for the flow. Payload is kept from `bytes`, the
/// bytes of its frame.
#[inline(always)]
pub fn record<S: Storage, B: FrameBytes>(storage: &mut S, packet: &Packet, bytes: &B) -> Metered {
    record_inside(storage, packet, bytes, None)
}

/// As [`record`], for a packet in the tunnel `outer`.
#[inline(always)]
pub fn record_inside<S: Storage, B: FrameBytes>(
    storage: &mut S,
    packet: &Packet,
    bytes: &B,
    outer: Option<&Outer>,
) -> Metered {
    let counted = count(storage, packet, bytes, outer);
    let head = storage.head();
    let (packets, bytes) = (u64::from(packet.count), u64::from(packet.frame_bytes));
    if counted.is_some() {
        head.received.add(packets, bytes);
        return Metered::Counted;
    }
    head.skip(Skipped::TableFull, packets, bytes);
    head.overflow[overflow_index(packet.key.protocol())].add(packets, bytes);
    Metered::Skipped(Skipped::TableFull)
}

/// Finds or makes the entry, and counts the packet there. `None` if there is no room.
///
/// All paths of the search join before the packet is counted. Otherwise the verifier would check the counting once for
/// each path.
#[inline(always)]
fn count<S: Storage, B: FrameBytes>(storage: &mut S, packet: &Packet, bytes: &B, outer: Option<&Outer>) -> Option<()> {
    let Ready { number, located, now } = ready(storage, packet, outer)?;
    let limit = storage.payload_limit().filter(|_| storage.entry(located).counts.is_first_payload(packet));
    if let Some(rare) = storage.entry(located).counts.count(packet, now) {
        storage.cold(number)?.count(rare, packet);
        // All packets of an ICMP entry have one type. If the quotes of the first packets cannot be parsed, later ones
        // are not tried.
        if packet.is_icmp_error() && !storage.cold(number)?.has_quote() {
            // The packet is counted whether or not its quote can be parsed.
            if let Some(quote) = KeptQuote::read(packet, bytes, storage.scratch()?) {
                storage.cold(number)?.keep_quote(quote);
            }
        }
    }
    if let Some(limit) = limit {
        // The packet is counted whether or not its bytes can be read.
        let _ = keep(storage, limit, number, packet, now, bytes);
    }
    Some(())
}

/// Keeps the first payload bytes of the packet's direction.
#[inline(always)]
fn keep<S: Storage, B: FrameBytes>(
    storage: &mut S,
    limit: PayloadLimit,
    number: u32,
    packet: &Packet,
    now: Stamp,
    bytes: &B,
) -> Option<()> {
    let there = bytes.there().saturating_sub(packet.payload_offset);
    let wanted = limit.bytes().min(packet.first_payload_bytes).min(packet.payload_bytes).min(there);
    let first = limit.first_chunk(number, packet.sender as u32);
    let mut kept = 0;
    for nth in 0..PayloadLimit::MAX / PayloadChunk::BYTES {
        let count = (wanted - kept).min(PayloadChunk::BYTES);
        if count == 0 || !bytes.copy(packet.payload_offset + kept, count, storage.chunk(first + nth)?) {
            break;
        }
        kept += count;
    }
    storage.cold(number)?.note_payload(packet, now, kept);
    Some(())
}

// A bucket is never in two cache lines, and the heads of different CPUs share none.
const _: () = assert!(size_of::<Bucket>() == 32 && size_of::<Head>().is_multiple_of(64));
