//! The flow table: buckets of tags with an entry for each tag. One CPU fills it, and it is cleared as a whole.
//!
//! A *partition* is the table of one CPU in one epoch: a [`Head`], buckets of sixteen tags, and an entry for each tag.
//! A tag is 16 bits of the hash of the flow in that entry, or 0 if the entry is free. With two bytes for a flow, the
//! tags stay in the processor's cache when the entries are far too large for it: a packet waits for memory once.
//!
//! The hash gives each flow an entry, its *home*. When half of the entries are in use, three in four flows are at their
//! home. The processor predicts that and fetches the home while it reads the tag, so the wait starts with the hash and
//! not with the search. A flow whose home was taken is in another entry of that bucket, or in its second bucket. The
//! second bucket is searched only if the first is crowded or has the flow's tag for another flow. A new flow goes to
//! the emptier of the searched buckets. Up to a load of about 85 % a partition has room for every flow.
//!
//! Nothing is removed from a partition in use: an entry that was taken when a flow came is taken when the flow is
//! searched for.
//!
//! An entry is a partial flow that lies in one session. If a session may end before a packet, or a record may end by
//! the active timeout, the packet starts another entry of its flow ([`Boundaries`], [`ColdCounters`]). Therefore the
//! times at which the table is drained do not determine which packets are in a record. The previous entry is *retired*:
//! it stays where it is, but its tag is replaced by one that no flow has. The new entry takes the tag and a free entry
//! of the same bucket. A flow has only one entry with its tag, and is found as before.
//!
//! The algorithm is generic over its [`Storage`]: BPF maps in the kernel, vectors in userspace.

use bytemuck::{Pod, Zeroable};

use crate::content::{FrameBytes, PayloadChunk, PayloadLimit};
use crate::counts::{ColdCounters, FlowEntry};
use crate::cursor::Cursor;
use crate::flow::{FlowKey, KEY_HALVES, SYN};
use crate::headers::protocol;
use crate::packet::{Frame, Hook, Packet, Skipped, parse};
use crate::quote::KeptQuote;
use crate::time::{Boundaries, Stamp};

/// Number of entries in a bucket.
pub const SLOTS: usize = 16;

/// The tags of sixteen entries, four in each word. All of them are compared at once.
///
/// A set of tags is a number with one bit for each slot (`bit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bucket(pub [u64; SLOTS / 4]);

/// The lowest bit of each lane.
const LANES: u64 = 0x0001_0001_0001_0001;
/// The tag of a retired entry. No flow has it.
const RETIRED: u64 = 0xffff;
/// All bits of each lane except the highest.
const LOWER_BITS: u64 = 0x7fff * LANES;

impl Bucket {
    const WORDS: usize = SLOTS / 4;
    const ALL: u64 = 0x000f_000f_000f_000f;

    /// A bucket with at most this number of free tags is crowded.
    const CROWDED: u32 = 4;

    /// The set of tags that are equal to `tag`. Only its lowest bit is reliable: above an equal lane the borrow of the
    /// subtraction also marks a lane that differs only in its lowest bit (Warren, "Hacker's Delight", §6-1).
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

    /// The set of free tags. All bits are reliable, because no sum leaves its lane. This costs one more instruction for
    /// each word.
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

    /// Writes `tag` into the free slot of `bit`.
    #[inline(always)]
    const fn take(&mut self, bit: u64, tag: u64) {
        let mut word = 0;
        while word < Self::WORDS {
            self.0[word] |= (bit >> word & LANES) * tag;
            word += 1;
        }
    }

    /// Replaces the tag in a slot by that of a retired entry.
    #[inline(always)]
    const fn retire(&mut self, slot: u32) {
        self.0[slot as usize % 4] |= RETIRED << (slot / 4 * 16);
    }

    /// The tag in a slot, 0 if it is free.
    #[inline(always)]
    const fn at(&self, slot: u32) -> u64 {
        self.0[slot as usize % 4] >> (slot / 4 * 16) & 0xffff
    }

    /// Number of tags in use.
    pub const fn used(&self) -> u32 {
        SLOTS as u32 - count_of(self.free())
    }
}

/// Number of tags in a set. Kernel programs have no instruction that counts ones.
#[inline(always)]
const fn count_of(set: u64) -> u32 {
    // Each lane has a bit for each word. Adjacent bits are added, then adjacent pairs.
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

/// The slot of a bit, by a perfect hash. Kernel programs have no instruction that counts zeroes.
#[inline(always)]
const fn slot(bit: u64) -> u32 {
    (SLOTS_BY_WINDOW >> (window(bit) * 4)) as u32 % SLOTS as u32
}

/// The multiplier contains four parts of a de Bruijn sequence, at the positions where the bits shift its windows of
/// four bits (Leiserson, Prokop and Randall, "Using de Bruijn Sequences to Index a 1 in a Computer Word", 1998).
#[inline(always)]
const fn window(bit: u64) -> u64 {
    bit.wrapping_mul(0x0800_9a00_ae00_f000) >> 60
}

/// Four bits for each window: the slot whose bit selects it.
const SLOTS_BY_WINDOW: u64 = {
    let (mut slots, mut slot) = (0, 0);
    while slot < SLOTS as u32 {
        slots |= (slot as u64) << (window(bit(slot)) * 4);
        slot += 1;
    }
    slots
};

/// The numbers of the entries in use, in ascending order.
pub fn used(buckets: &[Bucket]) -> impl Iterator<Item = usize> {
    (0..).zip(buckets).flat_map(|(number, bucket)| {
        let free = bucket.free();
        (0..SLOTS as u32)
            .filter(move |slot| free & bit(*slot) == 0)
            .map(move |slot| entry_number(number, slot) as usize)
    })
}

/// A number of packets and their frame bytes.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Count {
    /// Number of packets.
    pub packets: u64,
    /// Frame bytes, without FCS.
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

/// The protocols by which overflow is counted. The last counts all others.
pub const OVERFLOW_PROTOCOLS: [&str; 6] = ["tcp", "udp", "icmp", "icmpv6", "sctp", "other"];

/// The counters of a partition, without its flows. All of them belong to one epoch, so `received = Σ flows + Σ skipped`
/// holds for each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Head {
    /// All packets that the program received.
    pub received: Count,
    /// Number of entries in use.
    pub entries: u64,
    /// The number of the entry that was changed last, plus one; 0 before the first.
    last: u64,
    /// Number of packets that should have started another entry of their flow, but are in the previous one because its
    /// bucket was crowded.
    pub boundaries_lost: u64,
    reserved: u64,
    /// Packets in no flow, by [`Skipped`].
    pub skipped: [Count; Skipped::COUNT],
    /// Packets for which the table was full, by protocol.
    pub overflow: [Count; OVERFLOW_PROTOCOLS.len()],
}

impl Head {
    /// Adds the counters of another partition, including its entries.
    pub fn merge(&mut self, other: &Self) {
        let counts = self.skipped.iter_mut().zip(&other.skipped).chain(self.overflow.iter_mut().zip(&other.overflow));
        for (mine, theirs) in counts {
            mine.add(theirs.packets, theirs.bytes);
        }
        self.received.add(other.received.packets, other.received.bytes);
        self.entries += other.entries;
        self.boundaries_lost += other.boundaries_lost;
    }

    /// The number of the entry in which the last packet was counted.
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

/// The secret of the hash. It is random at each start, so that flows cannot be directed at one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Seed(pub [u64; KEY_HALVES]);

/// The size of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of buckets.
    pub buckets: u32,
}

impl Shape {
    /// The shape for a capacity in entries, rounded up to whole buckets.
    pub const fn for_capacity(entries: u32) -> Self {
        let buckets = entries.div_ceil(SLOTS as u32);
        Self { buckets: if buckets == 0 { 1 } else { buckets } }
    }

    /// Number of entries.
    pub const fn entries(self) -> u32 {
        self.buckets * SLOTS as u32
    }
}

/// The memory of a partition. An accessor returns `None` only if a number is out of range. This does not happen, but
/// the kernel's verifier requires the branch.
pub trait Storage {
    /// The location of an entry: the result of one lookup.
    type Located: Copy;
    /// Number of buckets.
    fn buckets(&self) -> u32;
    /// Word `n` of the secret of the hash. One at a time, because kernel programs have few registers.
    fn secret(&self, n: usize) -> u64;
    /// The boundaries at which an entry ends.
    fn boundaries(&self) -> Boundaries;
    /// The counters.
    fn head(&mut self) -> &mut Head;
    /// Bucket `n`.
    fn bucket(&mut self, n: u32) -> Option<&mut Bucket>;
    /// The location of entry `n` (see [`entry_number`]).
    fn locate(&mut self, n: u32) -> Option<Self::Located>;
    /// The entry at a location.
    fn entry(&mut self, at: Self::Located) -> &mut FlowEntry;
    /// The cold counters of entry `n`.
    fn cold(&mut self, n: u32) -> Option<&mut ColdCounters>;
    /// The limit of kept payload; `None` if none is kept.
    fn payload_limit(&self) -> Option<PayloadLimit>;
    /// Memory for use while a packet is processed. Its contents are arbitrary.
    fn scratch(&mut self) -> Option<&mut PayloadChunk>;
    /// Payload chunk `n` (see [`PayloadLimit::first_chunk`]).
    fn chunk(&mut self, n: u32) -> Option<&mut PayloadChunk>;
}

/// The result of metering a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// It is in a flow.
    Counted,
    /// It is in no flow, for this reason.
    Skipped(Skipped),
}

/// The whole meter: parses a frame, and counts it in a flow or by the reason why not. The cursor must be at the start
/// of the frame.
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
    // The number of packets in a skipped super-packet is unknown, so it counts as one buffer.
    storage.head().skip(reason, 1, u64::from(wire_length));
}

/// Counts a packet in its flow, or as overflow if the table has no room for the flow. Payload is kept from `bytes`, the
/// bytes of its frame.
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

/// The possible locations of a flow, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The number of an entry in the first bucket.
    home: u32,
    /// The number of the second bucket.
    second: u32,
    /// The tag, 1 to 65,534.
    tag: u64,
}

/// Hashes the key: the multilinear hash of its 32-bit halves of words modulo 2⁶⁴ (Lemire and Kaser, "Strongly Universal
/// String Hashing is Fast", 2014). For any two keys, over the choice of the seed, the upper halves of their hashes are
/// independent. They are therefore equal with a probability of 2⁻³².
///
/// The hash consists of additions and multiplications because a kernel program has no rotation, and only the lower half
/// of a product.
#[inline(always)]
fn hash<S: Storage>(storage: &S, key: &FlowKey) -> u64 {
    let halves = key.halves();
    let term = |n: usize| u64::from(halves[n]).wrapping_mul(storage.secret(n));
    // Two sums, because a long chain of additions would be waited for.
    let mut sums = [0u64; 2];
    for n in FlowKey::LOWER_HALVES {
        sums[n % 2] = sums[n % 2].wrapping_add(term(n));
    }
    // Zeroes add nothing: without them IPv4 takes two thirds of the time.
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
    // Keys with a constant difference (a scan) have hashes with a constant difference, which crowd if the seed makes
    // the difference nearly a simple fraction of the range. Folding and multiplying remove this pattern. Both are
    // invertible, so no two hashes become equal.
    let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Place {
        home: scale((mixed >> 32) as u32, buckets * SLOTS as u32),
        second: scale(mixed as u32, buckets),
        tag: u64::from(scale((hash >> 32) as u32, RETIRED as u32 - 1)) + 1,
    }
}

/// The number of an entry in its partition. The entries of a bucket fill one page of memory. If the flow is not at its
/// home, the processor already has the address of the page.
#[inline(always)]
pub const fn entry_number(bucket: u32, slot: u32) -> u32 {
    bucket * SLOTS as u32 + slot
}

/// A free tag of a bucket, as a bit.
#[derive(Clone, Copy)]
struct Room {
    bucket: u32,
    bit: u64,
    /// Number of free tags in the bucket; 1 for a free home, 0 if there is none.
    free: u32,
}

/// The result of a search: the flow's own entry, or a free one, with its number.
#[derive(Clone, Copy)]
enum Found<L> {
    Own(u32, L),
    Free(u32, L, Room),
}

/// Searches for the flow at its home and in its two buckets. `None` if it is in neither and both are full.
///
/// A bucket has no tag twice. If the flow's tag belongs to another flow, this flow is not in the bucket and cannot be
/// added to it.
#[inline(always)]
fn find<S: Storage>(storage: &mut S, key: &FlowKey, place: &Place) -> Option<Found<S::Located>> {
    let (first, home) = (place.home / SLOTS as u32, place.home % SLOTS as u32);
    // A branch that can be predicted. Selecting the entry by comparing all tags would be waited for.
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
            // If the flow had come before, it would be here: a free entry was never in use.
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

/// The location of the entry that the flow has or would get. `None` if there is no room for it.
pub fn entry_of<S: Storage>(storage: &mut S, key: &FlowKey) -> Option<S::Located> {
    let place = place(storage, key);
    find(storage, key, &place).map(|(Found::Own(_, located) | Found::Free(_, located, _))| located)
}

/// Finds or makes the entry, and counts the packet there. `None` if there is no room.
///
/// All paths of the search join before the packet is counted. Otherwise the verifier would follow the counting from
/// each path.
#[inline(always)]
fn count<S: Storage, B: FrameBytes>(storage: &mut S, packet: &Packet, bytes: &B) -> Option<()> {
    let Ready { number, located, now } = ready(storage, packet)?;
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

/// An entry in which a packet can be counted, and the time at which it counts.
struct Ready<L> {
    number: u32,
    located: L,
    now: Stamp,
}

/// Finds or makes the packet's entry, and prepares it for counting the packet.
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
            goes_on = storage.cold(number)?.go_on_with(sent, packet);
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
    storage.cold(number)?.open(packet, birth);
    Some(Ready { number, located, now })
}

/// The flow's entry, or a free one that now has the flow's tag, and whether it is the flow's.
///
/// Packets come in trains (Jain and Routhier, "Packet Trains", 1986), so the entry of the previous packet is tried
/// first.
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

/// Retires an entry, and returns the number of the new one.
///
/// One flow must not fill the bucket of others. If the bucket is crowded, the result for a frame of a file is `None`:
/// the caller drains the table and counts the frame again. For other packets the result is `Some(None)`: they are
/// counted in the old entry, and a lost boundary is counted.
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

// A bucket is never in two cache lines, and the heads of different CPUs share none.
const _: () = assert!(size_of::<Bucket>() == 32 && size_of::<Head>().is_multiple_of(64));
