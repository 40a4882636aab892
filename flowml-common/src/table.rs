//! The flow table: an index of buckets over dense entries, filled by one CPU and emptied as a whole.
//!
//! A *partition* is what one CPU fills in one epoch: a [`Head`], `entries / 4` buckets of eight slots and the entries.
//! A slot is `tag << 32 | entry number + 1`, 0 when empty. Nothing is ever removed from a partition that is in use, so
//! a bucket fills from its first slot, and an empty slot ends a search. A flow is in one of two buckets, and goes into
//! the second only when the first is full: a packet costs at most sixteen comparisons of tags and two of keys.
//!
//! The algorithm is generic over its [`Storage`]: BPF maps in the kernel, vectors in userspace.

use bytemuck::{Pod, Zeroable};

use crate::cursor::Cursor;
use crate::flow::{FlowEntry, FlowKey, KEY_HALVES};
use crate::headers::protocol;
use crate::packet::{Frame, Packet, Skipped, parse};

/// Slots of a bucket: one cache line.
pub const SLOTS: usize = 8;

/// One cache line of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Bucket(pub [u64; SLOTS]);

/// Packets and their frame bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Frame bytes without FCS.
    pub bytes: u64,
}

impl Count {
    /// Adds packets and bytes.
    #[inline(always)]
    pub fn add(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// The protocols by which overflow is counted, the last for all others.
pub const OVERFLOW_PROTOCOLS: [&str; 6] = ["tcp", "udp", "icmp", "icmpv6", "sctp", "other"];

/// What a partition counts besides its flows. Everything in it belongs to the epoch, so
/// `received = Σ flows + Σ skipped` holds for each partition by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Head {
    /// All packets that the program was given.
    pub received: Count,
    /// Entries in use; never more than the capacity.
    pub entries: u64,
    reserved: [u64; 5],
    /// Packets in no flow, by [`Skipped`].
    pub skipped: [Count; Skipped::COUNT],
    /// Packets that found the table full, by protocol: the overflow record.
    pub overflow: [Count; OVERFLOW_PROTOCOLS.len()],
}

impl Head {
    /// Adds what another partition counted, but for its entries.
    pub fn merge(&mut self, other: &Self) {
        let counts = self.skipped.iter_mut().zip(&other.skipped).chain(self.overflow.iter_mut().zip(&other.overflow));
        for (mine, theirs) in counts {
            mine.add(theirs.packets, theirs.bytes);
        }
        self.received.add(other.received.packets, other.received.bytes);
    }

    #[inline(always)]
    fn skip(&mut self, reason: Skipped, packets: u64, bytes: u64) {
        self.received.add(packets, bytes);
        self.skipped[reason as usize].add(packets, bytes);
    }
}

/// The secret of the hash: random at each start, so that nobody can aim flows at a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Seed(pub [u64; KEY_HALVES]);

/// The sizes of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Entries.
    pub entries: u32,
    /// Buckets: with a quarter of the entries, the index has twice as many slots as there are entries.
    pub buckets: u32,
}

impl Shape {
    /// The shape for a capacity in flows.
    pub const fn for_capacity(entries: u32) -> Self {
        let buckets = entries.div_ceil(SLOTS as u32 / 2);
        Self { entries, buckets: if buckets == 0 { 1 } else { buckets } }
    }
}

/// Where a partition lives. An accessor answers `None` for a number out of range only, which does not happen: the
/// kernel's verifier asks for the branch.
pub trait Storage {
    /// Where an entry is: what was found once need not be looked for again.
    type Located: Copy;
    /// Entries.
    fn capacity(&self) -> u32;
    /// Buckets.
    fn buckets(&self) -> u32;
    /// Number `n` of the secret of the hash: one at a time, as kernel programs have few registers.
    fn secret(&self, n: usize) -> u64;
    /// The head.
    fn head(&mut self) -> &mut Head;
    /// Bucket `n`.
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket>;
    /// The number of the first entry; the others follow.
    fn first_entry(&self) -> u32;
    /// Where entry `n` is, one that is in use or the next one.
    fn locate(&mut self, n: u32) -> Option<Self::Located>;
    /// The entry there.
    fn entry(&mut self, at: Self::Located) -> &mut FlowEntry;
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// It is in a flow.
    Counted,
    /// It is in no flow, for this reason.
    Skipped(Skipped),
}

/// The whole meter: parses a frame and counts it, in a flow or by the reason why not.
#[inline(always)]
pub fn meter<S: Storage, C: Cursor>(storage: &mut S, frame: &Frame, cursor: C) -> Metered {
    match parse(frame, cursor) {
        Ok(packet) => record(storage, &packet),
        Err(reason) => {
            skip(storage, frame.wire_length(), reason);
            Metered::Skipped(reason)
        }
    }
}

/// Counts a frame that is in no flow.
#[inline(always)]
pub fn skip<S: Storage>(storage: &mut S, wire_length: u32, reason: Skipped) {
    // What is behind the first header of a skipped super-packet is unknown: it counts as the one buffer that it is.
    storage.head().skip(reason, 1, u64::from(wire_length));
}

/// Counts a packet in its flow, or as overflow where the table has no room for the flow.
#[inline(always)]
pub fn record<S: Storage>(storage: &mut S, packet: &Packet) -> Metered {
    let counted = count(storage, packet);
    let head = storage.head();
    let (packets, bytes) = (u64::from(packet.count), u64::from(packet.frame_bytes));
    if counted {
        head.received.add(packets, bytes);
        return Metered::Counted;
    }
    head.skip(Skipped::TableFull, packets, bytes);
    head.overflow[overflow_index(packet.key.protocol())].add(packets, bytes);
    Metered::Skipped(Skipped::TableFull)
}

#[inline(always)]
const fn overflow_index(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 0,
        protocol::UDP => 1,
        protocol::ICMP => 2,
        protocol::ICMPV6 => 3,
        protocol::SCTP => 4,
        _ => 5,
    }
}

/// The bucket where a flow is looked for first, its second bucket, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    first: u32,
    second: u32,
    tag: u32,
}

/// Hashes the key: the multilinear hash of its halves of words modulo 2⁶⁴ (Lemire and Kaser, "Strongly Universal String
/// Hashing is Fast", 2014). Whoever chose two keys, over the choice of the seed their upper halves of the hash are
/// independent and so equal with a probability of 2⁻³².
///
/// It is additions and multiplications only because that is what a kernel program has: no rotation, and of a product
/// only the lower half.
#[inline(always)]
fn hash<S: Storage>(storage: &S, key: &FlowKey) -> u64 {
    let halves = key.halves();
    let term = |n: usize| u64::from(halves[n]).wrapping_mul(storage.secret(n));
    // Two sums: a long chain of additions is waited for.
    let mut sums = [0u64; 2];
    for n in FlowKey::LOWER_HALVES {
        sums[n % 2] = sums[n % 2].wrapping_add(term(n));
    }
    // Nothing is added by zeroes: IPv4 costs two thirds.
    if !key.is_below_2_64() {
        for n in FlowKey::UPPER_HALVES {
            sums[n % 2] = sums[n % 2].wrapping_add(term(n));
        }
    }
    sums[0].wrapping_add(sums[1])
}

/// Scales 32 random bits to `0..buckets` (Lemire, "Fast Random Integer Generation in an Interval", 2019).
#[inline(always)]
const fn scale(bits: u32, buckets: u32) -> u32 {
    ((bits as u64 * buckets as u64) >> 32) as u32
}

#[inline(always)]
fn place<S: Storage>(storage: &S, key: &FlowKey) -> Place {
    let (hash, buckets) = (hash(storage, key), storage.buckets());
    let tag = (hash >> 32) as u32;
    // Keys in steps (a scan) have hashes in steps, upper and lower half each with a step of its own; together they have
    // none. The second bucket comes from the tag, multiplied by an odd number to be independent of the first.
    let (first, second) = (tag ^ hash as u32, tag.wrapping_mul(0x85eb_ca6b));
    Place { first: scale(first, buckets), second: scale(second, buckets), tag }
}

/// What a bucket says of a tag.
#[derive(Clone, Copy)]
enum Probe {
    /// A slot has it: entry number.
    Same(u32),
    /// No slot has it, and this one is free.
    Free(usize),
    /// Neither.
    Full,
}

/// Looks at the slots of a bucket in the order in which they fill.
#[inline(always)]
fn probe(bucket: &Bucket, tag: u32) -> Probe {
    for (slot, &value) in bucket.0.iter().enumerate() {
        if value == 0 {
            return Probe::Free(slot);
        }
        if (value >> 32) as u32 == tag {
            return Probe::Same(value as u32 - 1);
        }
    }
    Probe::Full
}

/// Where a flow's entry is.
#[derive(Clone, Copy)]
enum Found<L> {
    /// It has one.
    Entry(L),
    /// It has none, and this slot of this bucket is free for it.
    Room(u32, usize),
    /// It has none, and there is no room for it.
    NoRoom,
}

/// Looks for the flow in its two buckets.
///
/// Two flows of one bucket have the same tag once in 2³² pairs. The later one then goes on to its second bucket, as it
/// does when the first is full, and will do so each time: the first slot with a tag is always the same flow's.
#[inline(always)]
fn find<S: Storage>(storage: &mut S, key: &FlowKey, place: &Place) -> Found<S::Located> {
    for at in [place.first, place.second] {
        let Some(bucket) = storage.bucket(at) else { break };
        match probe(bucket, place.tag) {
            Probe::Same(n) => {
                let Some(located) = storage.locate(n) else { break };
                if storage.entry(located).key.is(key) {
                    return Found::Entry(located);
                }
            }
            Probe::Free(slot) => return Found::Room(at, slot),
            Probe::Full => {}
        }
    }
    Found::NoRoom
}

/// Finds or makes the entry and counts the packet there; false where there is no room.
///
/// All ways of the search join before the packet is counted: the verifier would otherwise follow the counting from
/// every slot.
#[inline(always)]
fn count<S: Storage>(storage: &mut S, packet: &Packet) -> bool {
    let place = place(storage, &packet.key);
    let located = match find(storage, &packet.key, &place) {
        Found::Entry(located) => {
            storage.entry(located).stats.wait(packet);
            Some(located)
        }
        Found::Room(at, slot) => insert(storage, &place, at, slot, packet),
        Found::NoRoom => None,
    };
    let Some(located) = located else { return false };
    storage.entry(located).stats.count(packet);
    true
}

/// Makes the next entry that of the packet's flow, if there is one left.
#[inline(always)]
fn insert<S: Storage>(storage: &mut S, place: &Place, at: u32, slot: usize, packet: &Packet) -> Option<S::Located> {
    let entries = storage.head().entries;
    if entries >= u64::from(storage.capacity()) {
        return None;
    }
    let number = storage.first_entry() + entries as u32;
    let located = storage.locate(number)?;
    storage.bucket(at)?.0[slot & (SLOTS - 1)] = u64::from(place.tag) << 32 | u64::from(number + 1);
    storage.head().entries = entries + 1;
    let entry = storage.entry(located);
    entry.key = packet.key;
    entry.stats.open(packet);
    Some(located)
}

// Whole cache lines, as the index and the CPUs' heads must not share any.
const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Head>().is_multiple_of(64));
