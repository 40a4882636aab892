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
use crate::flow::{FlowEntry, FlowKey};
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
pub struct Seed(pub [u64; 6]);

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
    /// The sizes.
    fn shape(&self) -> Shape;
    /// The secret of the hash.
    fn seed(&self) -> Seed;
    /// The head.
    fn head(&mut self) -> &mut Head;
    /// Bucket `n`.
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket>;
    /// Entry `n`.
    fn entry(&mut self, n: u32) -> Option<&mut FlowEntry>;
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
    let (packets, bytes) = (u64::from(packet.count), u64::from(packet.frame_bytes));
    if count(storage, packet) {
        storage.head().received.add(packets, bytes);
        return Metered::Counted;
    }
    let head = storage.head();
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

/// The bucket where a flow is looked for first, its second bucket, and its tag (in the upper 32 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    first: u32,
    second: u32,
    tag: u64,
}

/// Hashes the key: NH (Black et al., "UMAC: Fast and Secure Message Authentication", CRYPTO 1999), for whose six
/// products the probability that two given keys collide is 2⁻³² over the choice of the seed, whoever chose the keys;
/// then a bijective finish that spreads it over all bits.
#[inline(always)]
const fn hash(key: &FlowKey, seed: &Seed) -> u64 {
    let (words, secret) = (key.words(), &seed.0);
    let mut sum = 0u64;
    let mut n = 0;
    while n < words.len() {
        let low = (words[n] as u32).wrapping_add(secret[n] as u32) as u64;
        let high = ((words[n] >> 32) as u32).wrapping_add((secret[n] >> 32) as u32) as u64;
        sum = sum.wrapping_add(low.wrapping_mul(high));
        n += 1;
    }
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    sum ^ (sum >> 29)
}

/// Scales 32 random bits to `0..buckets` (Lemire, "Fast Random Integer Generation in an Interval", 2019).
#[inline(always)]
const fn scale(bits: u32, buckets: u32) -> u32 {
    ((bits as u64 * buckets as u64) >> 32) as u32
}

#[inline(always)]
const fn place(key: &FlowKey, seed: &Seed, buckets: u32) -> Place {
    let hash = hash(key, seed);
    let tag = hash & TAG;
    // The second bucket comes from the tag, multiplied by an odd number to be independent of the first.
    let second = ((tag >> 32) as u32).wrapping_mul(0x85eb_ca6b);
    Place { first: scale(hash as u32, buckets), second: scale(second, buckets), tag }
}

const TAG: u64 = 0xffff_ffff_0000_0000;

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
fn probe(bucket: &Bucket, tag: u64) -> Probe {
    for (slot, &value) in bucket.0.iter().enumerate() {
        if value == 0 {
            return Probe::Free(slot);
        }
        if value & TAG == tag {
            return Probe::Same(value as u32 - 1);
        }
    }
    Probe::Full
}

/// Where a flow's entry is.
#[derive(Clone, Copy)]
enum Found {
    /// It has one.
    Entry(u32),
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
fn find<S: Storage>(storage: &mut S, key: &FlowKey, place: &Place) -> Found {
    for at in [place.first, place.second] {
        let Some(bucket) = storage.bucket(at) else { break };
        match probe(bucket, place.tag) {
            Probe::Same(n) if storage.entry(n).is_some_and(|entry| entry.key.is(key)) => return Found::Entry(n),
            Probe::Free(slot) => return Found::Room(at, slot),
            Probe::Same(_) | Probe::Full => {}
        }
    }
    Found::NoRoom
}

/// Finds or makes the entry and counts the packet there; false where there is no room.
///
/// The search ends before the packet is counted: the verifier would otherwise follow the counting from every slot.
#[inline(always)]
fn count<S: Storage>(storage: &mut S, packet: &Packet) -> bool {
    let place = place(&packet.key, &storage.seed(), storage.shape().buckets);
    match find(storage, &packet.key, &place) {
        Found::Entry(n) => {
            let Some(entry) = storage.entry(n) else { return false };
            entry.stats.add(packet);
            true
        }
        Found::Room(at, slot) => insert(storage, &place, at, slot, packet),
        Found::NoRoom => false,
    }
}

#[inline(always)]
fn insert<S: Storage>(storage: &mut S, place: &Place, at: u32, slot: usize, packet: &Packet) -> bool {
    let n = storage.head().entries as u32;
    if n >= storage.shape().entries {
        return false;
    }
    let Some(entry) = storage.entry(n) else { return false };
    entry.key = packet.key;
    entry.stats.start(packet);
    let Some(bucket) = storage.bucket(at) else { return false };
    bucket.0[slot & (SLOTS - 1)] = place.tag | u64::from(n + 1);
    storage.head().entries = u64::from(n + 1);
    true
}

// Whole cache lines, as the index and the CPUs' heads must not share any.
const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Head>().is_multiple_of(64));
