//! The flow table: buckets of tags, each tag standing for an entry, filled by one CPU and emptied as a whole.
//!
//! A *partition* is what one CPU fills in one epoch: a [`Head`], buckets of sixteen tags, and an entry for each tag. A tag
//! is 16 bits of the hash of the flow in that entry, 0 where there is none. Two bytes for a flow keep the tags in the
//! processor's cache when the entries are far too large for it: a packet waits for memory once.
//!
//! The hash gives each flow an entry of its own, its *home*, where three in four are when half of the entries are in use.
//! The processor expects that and fetches the home while it looks at the tag there, so the wait begins with the hash and
//! not with the search. A flow whose home was taken is in another entry of that bucket or in its second bucket. It is
//! looked for in the second only where the first has become crowded or holds its tag for another flow; a new one goes to
//! the emptier of those looked at. So up to about 85 % of its entries a partition takes every flow.
//!
//! Nothing is ever removed from a partition that is in use: what was taken when a flow came is taken when it is looked for.
//!
//! An entry is a part of a flow that lies in one session, whatever was before it: where a session might end before a
//! packet, or a record by the active timeout, that packet begins another entry of its flow ([`Boundaries`],
//! [`FlowRarities`]). So it does not depend on the moments at which the table is emptied which packets are in a record. The
//! entry before is *retired*: it keeps its place, but its tag becomes one that no flow has, and the new entry takes the
//! tag and a free place of the same bucket. A flow has one entry with its tag, and is found as before.
//!
//! The algorithm is generic over its [`Storage`]: BPF maps in the kernel, vectors in userspace.

use bytemuck::{Pod, Zeroable};

use crate::content::{FrameBytes, PayloadLimit, Piece};
use crate::counts::{FlowEntry, FlowRarities};
use crate::cursor::Cursor;
use crate::flow::{FlowKey, KEY_HALVES, SYN};
use crate::headers::protocol;
use crate::packet::{Frame, Hook, Packet, Skipped, parse};
use crate::quote::KeptQuote;
use crate::time::{Boundaries, Stamp};

/// Entries of a bucket.
pub const SLOTS: usize = 16;

/// The tags of sixteen entries, four in each word, all of which are compared at once.
///
/// A set of tags is a number with a bit for each, that of its slot (`bit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bucket(pub [u64; SLOTS / 4]);

/// The lowest bit of each lane.
const LANES: u64 = 0x0001_0001_0001_0001;
/// The tag of an entry that is retired: no flow has it.
const RETIRED: u64 = 0xffff;
/// All bits of each lane but its highest.
const LOWER_BITS: u64 = 0x7fff * LANES;

impl Bucket {
    const WORDS: usize = SLOTS / 4;
    const ALL: u64 = 0x000f_000f_000f_000f;

    /// A bucket with no more free tags than these is crowded.
    const CROWDED: u32 = 4;

    /// The set of tags that are equal to `tag`. Only its lowest bit is sure: above an equal lane the borrow of the
    /// subtraction makes an equal lane of one that differs in its lowest bit (Warren, "Hacker's Delight", §6-1).
    #[inline(always)]
    const fn equal(&self, tag: u64) -> u64 {
        let (repeated, mut set, mut word) = (tag * LANES, 0, 0);
        while word < Self::WORDS {
            let difference = self.0[word] ^ repeated;
            let zero = difference.wrapping_sub(LANES) & !difference & LANES << 15;
            set |= zero >> (15 - word);
            word += 1;
        }
        set
    }

    /// The set of free tags. All of its bits are sure, at an instruction more for each word: no sum leaves its lane.
    #[inline(always)]
    const fn free(&self) -> u64 {
        let (mut used, mut word) = (0, 0);
        while word < Self::WORDS {
            let tags = self.0[word];
            let not_zero = ((tags & LOWER_BITS) + LOWER_BITS) | tags;
            used |= (not_zero & LANES << 15) >> (15 - word);
            word += 1;
        }
        Self::ALL & !used
    }

    /// Takes the free tag that `bit` stands for.
    #[inline(always)]
    const fn take(&mut self, bit: u64, tag: u64) {
        let mut word = 0;
        while word < Self::WORDS {
            self.0[word] |= (bit >> word & LANES) * tag;
            word += 1;
        }
    }

    /// Makes the tag in a slot that of a retired entry.
    #[inline(always)]
    const fn retire(&mut self, slot: u32) {
        self.0[slot as usize % 4] |= RETIRED << (slot / 4 * 16);
    }

    /// The tag in a slot, 0 where it is free.
    #[inline(always)]
    const fn at(&self, slot: u32) -> u64 {
        self.0[slot as usize % 4] >> (slot / 4 * 16) & 0xffff
    }

    /// The number of tags.
    pub const fn used(&self) -> u32 {
        SLOTS as u32 - count_of(self.free())
    }
}

/// How many tags are in a set: kernel programs cannot count ones.
#[inline(always)]
const fn count_of(set: u64) -> u32 {
    // Each lane has a bit for each word, of which every other one is taken with the one above it, and pairs likewise.
    const SINGLES: u64 = 0b0101 * LANES;
    const PAIRS: u64 = 0b0011 * LANES;
    let pairs = (set & SINGLES) + ((set >> 1) & SINGLES);
    let lanes = (pairs & PAIRS) + ((pairs >> 2) & PAIRS);
    (lanes.wrapping_mul(LANES) >> 48) as u32
}

/// The lowest bit of a set, or 0.
#[inline(always)]
const fn lowest(set: u64) -> u64 {
    set & set.wrapping_neg()
}

/// The bit of a slot in a set of tags: slot `4 × lane + word` is bit `16 × lane + word`.
#[inline(always)]
const fn bit(slot: u32) -> u64 {
    1 << (slot / 4 * 16 + slot % 4)
}

/// The slot of a bit, by a perfect hash, as kernel programs cannot count zeroes.
#[inline(always)]
const fn slot(bit: u64) -> u32 {
    (SLOTS_BY_WINDOW >> (window(bit) * 4)) as u32 % SLOTS as u32
}

/// The multiplier has four pieces of a de Bruijn sequence where the bits move its windows of four bits (Leiserson, Prokop
/// and Randall, "Using de Bruijn Sequences to Index a 1 in a Computer Word", 1998).
#[inline(always)]
const fn window(bit: u64) -> u64 {
    bit.wrapping_mul(0x0800_9a00_ae00_f000) >> 60
}

/// Four bits for each window: the slot whose bit moves it.
const SLOTS_BY_WINDOW: u64 = {
    let (mut slots, mut slot) = (0, 0);
    while slot < SLOTS as u32 {
        slots |= (slot as u64) << (window(bit(slot)) * 4);
        slot += 1;
    }
    slots
};

/// The numbers of the entries in use, in their order.
pub fn used(buckets: &[Bucket]) -> impl Iterator<Item = usize> {
    (0..).zip(buckets).flat_map(|(number, bucket)| {
        let free = bucket.free();
        (0..SLOTS as u32)
            .filter(move |slot| free & bit(*slot) == 0)
            .map(move |slot| entry_number(number, slot) as usize)
    })
}

/// Packets and their frame bytes.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    /// Entries in use.
    pub entries: u64,
    /// The number of the entry that was counted in last, and one more; 0 before the first.
    last: u64,
    /// Packets that should have begun another entry of their flow but are in the one before, as its bucket was crowded.
    pub boundaries_lost: u64,
    reserved: u64,
    /// Packets in no flow, by [`Skipped`].
    pub skipped: [Count; Skipped::COUNT],
    /// Packets that found the table full, by protocol: the overflow record.
    pub overflow: [Count; OVERFLOW_PROTOCOLS.len()],
}

impl Head {
    /// Adds what another partition counted, its entries included.
    pub fn merge(&mut self, other: &Self) {
        let counts = self.skipped.iter_mut().zip(&other.skipped).chain(self.overflow.iter_mut().zip(&other.overflow));
        for (mine, theirs) in counts {
            mine.add(theirs.packets, theirs.bytes);
        }
        self.received.add(other.received.packets, other.received.bytes);
        self.entries += other.entries;
        self.boundaries_lost += other.boundaries_lost;
    }

    /// The number of the entry in which the last packet was counted that is in a flow.
    #[must_use]
    pub fn last_entry(&self) -> Option<usize> {
        self.last.checked_sub(1).map(|number| number as usize)
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

/// The size of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Buckets.
    pub buckets: u32,
}

impl Shape {
    /// The shape for a capacity in entries, rounded up to whole buckets.
    pub const fn for_capacity(entries: u32) -> Self {
        let buckets = entries.div_ceil(SLOTS as u32);
        Self { buckets: if buckets == 0 { 1 } else { buckets } }
    }

    /// Entries.
    pub const fn entries(self) -> u32 {
        self.buckets * SLOTS as u32
    }
}

/// Where a partition lives. An accessor answers `None` for a number out of range only, which does not happen: the
/// kernel's verifier asks for the branch.
pub trait Storage {
    /// Where an entry is: what was found once need not be looked for again.
    type Located: Copy;
    /// Buckets.
    fn buckets(&self) -> u32;
    /// Number `n` of the secret of the hash: one at a time, as kernel programs have few registers.
    fn secret(&self, n: usize) -> u64;
    /// Where an entry has to end.
    fn boundaries(&self) -> Boundaries;
    /// The head.
    fn head(&mut self) -> &mut Head;
    /// Bucket `n`.
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket>;
    /// Where entry `n` is (see [`entry_number`]).
    fn locate(&mut self, n: u32) -> Option<Self::Located>;
    /// The entry there.
    fn entry(&mut self, at: Self::Located) -> &mut FlowEntry;
    /// The rarities of entry `n`.
    fn rarities(&mut self, n: u32) -> Option<&mut FlowRarities>;
    /// How much payload is kept; `None` where none is.
    fn payload_limit(&self) -> Option<PayloadLimit>;
    /// Room for what is at work on a packet, of any content.
    fn scratch(&mut self) -> Option<&mut Piece>;
    /// Piece `n` of payload (see [`PayloadLimit::first_piece`]).
    fn piece(&mut self, n: u32) -> Option<&mut Piece>;
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// It is in a flow.
    Counted,
    /// It is in no flow, for this reason.
    Skipped(Skipped),
}

/// The whole meter: parses a frame and counts it, in a flow or by the reason why not. The cursor is at its begin.
#[inline(always)]
pub fn meter<S: Storage, C: Cursor + FrameBytes + Copy>(storage: &mut S, frame: &Frame, cursor: C) -> Metered {
    match parse(frame, cursor) {
        Ok(packet) => record(storage, &packet, &cursor),
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

/// Counts a packet in its flow, or as overflow where the table has no room for the flow. Payload is kept from `bytes`,
/// those of its frame.
#[inline(always)]
pub fn record<S: Storage, B: FrameBytes>(storage: &mut S, packet: &Packet, bytes: &B) -> Metered {
    let counted = count(storage, packet, bytes);
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

/// Where a flow may be, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// An entry of the first bucket.
    home: u32,
    /// The second bucket.
    second: u32,
    /// 1 to 65,534.
    tag: u64,
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
    // Keys in steps (a scan) have hashes in steps, which crowd where the seed makes a step nearly a simple fraction of the
    // range. Folding and multiplying leaves no steps, and maps no two hashes to one, as both can be undone.
    let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Place {
        home: scale((mixed >> 32) as u32, buckets * SLOTS as u32),
        second: scale(mixed as u32, buckets),
        tag: u64::from(scale((hash >> 32) as u32, RETIRED as u32 - 1)) + 1,
    }
}

/// The number of an entry in its partition. The entries of a bucket fill one page of memory: where the flow is not at its
/// home, the processor has the address of the page already.
#[inline(always)]
pub const fn entry_number(bucket: u32, slot: u32) -> u32 {
    bucket * SLOTS as u32 + slot
}

/// A free tag of a bucket, as a bit.
#[derive(Clone, Copy)]
struct Room {
    bucket: u32,
    bit: u64,
    /// How many are free there, a home counting alone; 0 where none is.
    free: u32,
}

/// A flow's entry, by its number: its own, or the one that it may have.
#[derive(Clone, Copy)]
enum Found<L> {
    Own(u32, L),
    Free(u32, L, Room),
}

/// Looks for the flow at its home and in its two buckets; `None` where it is in neither and both are full.
///
/// A bucket never has a tag twice, so a tag that is another flow's says that this flow is not here, and may not be.
#[inline(always)]
fn find<S: Storage>(storage: &mut S, key: &FlowKey, place: &Place) -> Option<Found<S::Located>> {
    let (first, home) = (place.home / SLOTS as u32, place.home % SLOTS as u32);
    // A branch that is foreseen, not a choice of the entry by the tags: that would be waited for.
    if storage.bucket(first)?.at(home) == place.tag {
        let located = storage.locate(place.home)?;
        if storage.entry(located).key.is(key) {
            return Some(Found::Own(place.home, located));
        }
    }
    let mut room = Room { bucket: 0, bit: 0, free: 0 };
    for (bucket, home) in [(first, bit(home)), (place.second, 0)] {
        let tags = *storage.bucket(bucket)?;
        let same = lowest(tags.equal(place.tag));
        if same != 0 {
            let number = entry_number(bucket, slot(same));
            let located = storage.locate(number)?;
            if storage.entry(located).key.is(key) {
                return Some(Found::Own(number, located));
            }
            continue;
        }
        let set = tags.free();
        if set & home != 0 {
            // Had the flow come before, it would be there: nothing that is free was ever taken.
            room = Room { bucket, bit: home, free: 1 };
            break;
        }
        let free = count_of(set);
        if free > room.free {
            room = Room { bucket, bit: lowest(set), free };
        }
        if free > Bucket::CROWDED {
            break;
        }
    }
    if room.free == 0 {
        return None;
    }
    let number = entry_number(room.bucket, slot(room.bit));
    Some(Found::Free(number, storage.locate(number)?, room))
}

/// Where the entry is that the flow has, or would have; `None` where there is no room for it.
pub fn entry_of<S: Storage>(storage: &mut S, key: &FlowKey) -> Option<S::Located> {
    let place = place(storage, key);
    find(storage, key, &place).map(|(Found::Own(_, located) | Found::Free(_, located, _))| located)
}

/// Finds or makes the entry and counts the packet there; `None` where there is no room.
///
/// All ways of the search join before the packet is counted: the verifier would otherwise follow the counting from each.
#[inline(always)]
fn count<S: Storage, B: FrameBytes>(storage: &mut S, packet: &Packet, bytes: &B) -> Option<()> {
    let Ready { number, located, now } = ready(storage, packet)?;
    let limit = storage.payload_limit().filter(|_| storage.entry(located).counts.is_first_payload(packet));
    if let Some(rare) = storage.entry(located).counts.count(packet, now) {
        storage.rarities(number)?.count(rare, packet);
        // All packets of an entry of ICMP have one type: where the first ones cannot be read, no later one is tried.
        if packet.is_icmp_error() && !storage.rarities(number)?.has_quote() {
            // The packet is counted, whether or not its quote could be read.
            if let Some(quote) = KeptQuote::read(packet, bytes, storage.scratch()?) {
                storage.rarities(number)?.keep_quote(quote);
            }
        }
    }
    if let Some(limit) = limit {
        // The packet is counted, whether or not its bytes could be read.
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
    let first = limit.first_piece(number, packet.sender as u32);
    let mut kept = 0;
    for nth in 0..PayloadLimit::MAX / Piece::BYTES {
        let count = (wanted - kept).min(Piece::BYTES);
        if count == 0 || !bytes.copy(packet.payload_offset + kept, count, storage.piece(first + nth)?) {
            break;
        }
        kept += count;
    }
    storage.rarities(number)?.note_payload(packet, now, kept);
    Some(())
}

/// An entry in which a packet can be counted, and when.
struct Ready<L> {
    number: u32,
    located: L,
    now: Stamp,
}

/// The packet's entry, ready for the packet to be counted.
#[inline(always)]
fn ready<S: Storage>(storage: &mut S, packet: &Packet) -> Option<Ready<S::Located>> {
    let (mut number, mut located, is_own) = search(storage, packet)?;
    let mut now = packet.time;
    if is_own {
        let (boundaries, counts) = (storage.boundaries(), &mut storage.entry(located).counts);
        let before = counts.last();
        now = packet.time.later(before);
        let mut goes_on = !boundaries.part(before, now);
        if packet.tcp_flags & SYN != 0 && goes_on {
            let sent = counts.sent(packet);
            goes_on = storage.rarities(number)?.go_on_with(sent, packet);
        }
        if !goes_on {
            match split(storage, number, packet)? {
                Some(free) => (number, located) = (free, storage.locate(free)?),
                None => goes_on = true,
            }
        }
        if goes_on {
            storage.entry(located).counts.wait(now);
            return Some(Ready { number, located, now });
        }
    }
    let birth = storage.head().entries;
    storage.head().entries = birth + 1;
    storage.head().last = u64::from(number) + 1;
    let entry = storage.entry(located);
    entry.key = packet.key;
    entry.counts.open(packet);
    storage.rarities(number)?.open(packet, birth);
    Some(Ready { number, located, now })
}

/// The flow's entry, or a free one that is now its own; says which.
///
/// Packets come in trains (Jain and Routhier, "Packet Trains", 1986): the entry of the packet before is looked at first.
#[inline(always)]
fn search<S: Storage>(storage: &mut S, packet: &Packet) -> Option<(u32, S::Located, bool)> {
    let last = storage.head().last as u32;
    if last != 0 {
        let located = storage.locate(last - 1)?;
        if storage.entry(located).key.is(&packet.key) {
            return Some((last - 1, located, true));
        }
    }
    let place = place(storage, &packet.key);
    match find(storage, &packet.key, &place)? {
        Found::Own(number, located) => {
            storage.head().last = u64::from(number) + 1;
            Some((number, located, true))
        }
        Found::Free(number, located, room) => {
            storage.bucket(room.bucket)?.take(room.bit, place.tag);
            Some((number, located, false))
        }
    }
}

/// Retires an entry, and answers the number of the one that takes its place.
///
/// One flow does not fill the bucket of others: where that is crowded, the frame of a file comes again when the table has
/// been emptied. Other packets are counted where they are (`Some(None)`), and it is said that a boundary was lost.
#[inline(always)]
fn split<S: Storage>(storage: &mut S, number: u32, packet: &Packet) -> Option<Option<u32>> {
    let (first, own) = (number / SLOTS as u32, number % SLOTS as u32);
    let bucket = storage.bucket(first)?;
    let free = bucket.free();
    if count_of(free) > Bucket::CROWDED {
        let (room, tag) = (lowest(free), bucket.at(own));
        bucket.retire(own);
        bucket.take(room, tag);
        return Some(Some(entry_number(first, slot(room))));
    }
    if packet.hook as u8 == Hook::File as u8 {
        return None;
    }
    storage.head().boundaries_lost += u64::from(packet.count);
    Some(None)
}

// A bucket never lies in two cache lines, and the CPUs' heads share none.
const _: () = assert!(size_of::<Bucket>() == 32 && size_of::<Head>().is_multiple_of(64));
