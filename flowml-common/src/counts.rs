//! The counters of one CPU for a flow in one epoch, laid out so that a packet touches few cache lines.
//!
//! An epoch has fewer than 2³² packets of a CPU and lasts less than 2³² µs. Therefore 32-bit counters, and sums of
//! squares of microseconds, cannot overflow. The sum of squares of lengths can: jumbograms have up to 16 MiB in a
//! capture and 512 KiB in the kernel. It saturates, here and when partial flows are merged. [`FlowStats`] is the result
//! of merging several epochs and CPUs.

use core::hint::black_box;
use core::mem::offset_of;

use bytemuck::{Pod, Zeroable, must_cast_mut};

use crate::content::{Content, Contents, EntryChunks};
use crate::flow::{
    ACK, Direction, FIN, FIRST_PACKETS, FirstPackets, FlowKey, FlowStats, LENGTH_BINS, NO_SAMPLE, Opening, PSH, Part,
    RST, SYN, length_bin, saturate_u16,
};
use crate::headers::Mac;
use crate::packet::{Packet, Sender};
use crate::quote::{KeptQuote, Quote};
use crate::time::Stamp;

/// Flags that only one packet of a super-packet has: FIN, PSH and CWR. Segmentation offload clears them on the others.
const ONCE_PER_BUFFER: u8 = 0b1000_1001;

/// The bits of the TCP flags that few packets have: all except PSH and ACK, which [`Sums`] counts.
const RARE_FLAGS: [u8; 6] = [0, 1, 2, 5, 6, 7];

/// The smallest inter-arrival time of an entry that has none yet, in µs.
const NO_GAP: u32 = u32::MAX;

/// Minimum and maximum of some fields of the packets in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Range {
    length_min: u16,
    length_max: u16,
    ttl_min: u8,
    ttl_max: u8,
}

/// The counters of one direction that every packet changes: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Sums {
    frame_bytes: u64,
    ip_bytes: u64,
    payload_bytes: u64,
    length_squares: u64,
    iat_squares: u64,
    packets: u32,
    payload_packets: u32,
    iat_min_us: u32,
    iat_max_us: u32,
    pushes: u32,
    acknowledgements: u32,
}

/// The counters of a flow that every packet changes: the rest of the key's cache line and three more lines. A packet
/// touches the key's line, the line after it, and the line of its direction. The fields are those of [`FlowStats`], in
/// the order of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowCounts {
    // In the key's line. Most packets only read it, and a line without a write need not be written back.
    ranges: [Range; 2],
    first_sender: u8,
    syn_senders: u8,
    hooks: u8,
    /// Number of first packets that [`ColdCounters`] has.
    firsts: u8,
    // One line.
    /// Time of the last packet, by sender; 0 without one.
    last: [Stamp; 2],
    iat_squares: u64,
    lengths: [u32; LENGTH_BINS],
    iat_min_us: u32,
    iat_max_us: u32,
    // One line for each direction.
    sums: [Sums; 2],
}

/// An entry of the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowEntry {
    /// The key of the flow.
    pub key: FlowKey,
    /// The counters that every packet changes.
    pub counts: FlowCounts,
}

/// Cold counters of one direction: those that few packets change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Cold {
    first: Stamp,
    /// Number of packets by TCP flag, in the order of [`RARE_FLAGS`].
    flags: [u32; RARE_FLAGS.len()],
    window: u16,
    dscp: u8,
    /// The packet from which the initial sequence number was read: [`BY_SYN`], [`BY_SYN_ACK`], or 0 if there was none.
    opening: u8,
    initial_sequence: u32,
}

/// The kinds of packets that open a TCP connection. If a direction has sent both, the number in the SYN counts.
const BY_SYN: u8 = 2;
const BY_SYN_ACK: u8 = 1;

/// How a packet opens a connection, by its flags. A SYN with FIN or RST opens none.
#[inline(always)]
const fn opening(packet: &Packet) -> u8 {
    match packet.tcp_flags & (SYN | ACK | FIN | RST) {
        SYN => BY_SYN,
        SYN_ACK => BY_SYN_ACK,
        _ => 0,
    }
}

const SYN_ACK: u8 = SYN | ACK;

/// Cold counters of a flow: for its first packets, and for those that open and end a connection. They are stored apart
/// from the entries. In the entries they would be two fifths of the bytes, which the other packets never use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ColdCounters {
    directions: [Cold; 2],
    macs: [Mac; 2],
    firsts_upper: u8,
    firsts_payload: u8,
    reserved: u16,
    firsts_offset_us: [u32; FIRST_PACKETS],
    firsts_length: [u16; FIRST_PACKETS],
    /// Indexed by sender, as everything here: the time of the packet whose payload is kept, and the number of kept
    /// bytes.
    payload: [Stamp; 2],
    /// The packet that the first ICMP error of the flow quotes.
    quote: KeptQuote,
    payload_kept: [u16; 2],
    /// The number of entries that the partition had before this one. It gives the order of the entries of one flow.
    birth: u32,
}

/// References to all counters of a flow, in place.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// The key of the flow.
    pub key: &'a FlowKey,
    /// The counters that every packet changes.
    pub counts: &'a FlowCounts,
    /// The cold counters.
    pub cold: &'a ColdCounters,
    /// The chunks of the first payload bytes, if payload is kept.
    pub chunks: Option<EntryChunks<'a>>,
}

/// All counters of a flow in one value, for stores other than the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowValue {
    counts: FlowCounts,
    cold: ColdCounters,
}

/// A packet that changes cold counters: one of the first of the flow or of its direction, or one with rare flags.
#[derive(Clone, Copy)]
#[must_use]
pub struct Rare {
    /// The time at which it is counted.
    now: Stamp,
    /// Whether it is the first packet of its direction.
    first: bool,
    /// Whether the other direction has packets.
    answered: bool,
    /// Number of first packets of the flow that are already kept.
    kept: u8,
}

/// Lowers `least` to `value`. With a branch, because `min` would write to memory for every packet and needs more
/// instructions.
#[inline(always)]
fn lower<T: Copy + PartialOrd>(least: &mut T, value: T) {
    if value < *least {
        *least = value;
    }
}

/// Raises `most` to `value`, with a branch as in [`lower`].
#[inline(always)]
fn raise<T: Copy + PartialOrd>(most: &mut T, value: T) {
    if value > *most {
        *most = value;
    }
}

/// The square of an inter-arrival time, in µs². It fits 64 bits because the time fits 32.
#[inline(always)]
const fn square(gap_us: u32) -> u64 {
    gap_us as u64 * gap_us as u64
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, packet: &Packet) {
        self.packets += packet.count;
        self.frame_bytes += u64::from(packet.frame_bytes);
        self.ip_bytes += u64::from(packet.ip_bytes);
        self.payload_bytes += u64::from(packet.payload_bytes);
        if packet.payload_bytes > 0 {
            self.payload_packets += packet.count;
        }
        let length = u64::from(packet.last_ip_length);
        self.add_length_squares(length * length);
    }

    #[inline(always)]
    fn add_length_squares(&mut self, squares: u64) {
        self.length_squares = self.length_squares.saturating_add(squares);
    }

    #[inline(always)]
    fn sample(&mut self, gap_us: u32) {
        self.iat_squares = self.iat_squares.wrapping_add(square(gap_us));
        lower(&mut self.iat_min_us, gap_us);
        raise(&mut self.iat_max_us, gap_us);
    }

    /// Counts the packets of a super-packet except its last one. They have one length and no time between them.
    #[inline(always)]
    fn add_further(&mut self, packet: &Packet) {
        // Fewer than 2¹⁶ segments of less than 2¹⁷ bytes.
        let length = u64::from(packet.ip_length);
        self.add_length_squares(u64::from(packet.count - 1) * length * length);
        self.iat_min_us = 0;
    }
}

impl Range {
    #[inline(always)]
    fn add(&mut self, packet: &Packet) {
        if packet.last_ip_length < u32::from(self.length_min) {
            self.length_min = packet.last_ip_length as u16;
        }
        self.raise_length(packet.last_ip_length);
        lower(&mut self.ttl_min, packet.ttl);
        raise(&mut self.ttl_max, packet.ttl);
    }

    #[inline(always)]
    fn raise_length(&mut self, ip_length: u32) {
        if ip_length > u32::from(self.length_max) {
            self.length_max = saturate_u16(ip_length);
        }
    }
}

impl FlowCounts {
    /// Initializes the counters of a flow without packets. In place, because the kernel's stack has no room for them.
    #[inline(always)]
    pub(crate) fn open(&mut self, packet: &Packet) {
        zero(must_cast_mut::<Self, [u64; size_of::<Self>() / 8]>(self));
        self.iat_min_us = NO_GAP;
        self.first_sender = packet.sender as u8;
        for sums in &mut self.sums {
            sums.iat_min_us = NO_GAP;
        }
        for range in &mut self.ranges {
            range.length_min = u16::MAX;
            range.ttl_min = u8::MAX;
        }
    }

    /// Counts the inter-arrival time since the previous packet of the flow. Not called for the first packet.
    #[inline(always)]
    pub(crate) fn wait(&mut self, now: Stamp) {
        let gap_us = now.gap_us(self.last());
        self.iat_squares = self.iat_squares.wrapping_add(square(gap_us));
        lower(&mut self.iat_min_us, gap_us);
        raise(&mut self.iat_max_us, gap_us);
    }

    /// Counts a packet. Returns `Some` if [`ColdCounters`] has to count it too. `now` is the packet's own time, but not
    /// before [`last`](Self::last): the clock of a flow does not go back, and a late packet has an inter-arrival time
    /// of 0.
    ///
    /// No value is compared twice, because the verifier follows each outcome of a comparison up to the next comparison
    /// that depends on it.
    #[inline(always)]
    pub(crate) fn count(&mut self, packet: &Packet, now: Stamp) -> Option<Rare> {
        // The verifier does not use the range of an enum. It needs the mask, which the compiler would remove without
        // `black_box`.
        let sender = black_box(packet.sender as usize) & 1;
        if packet.count > 1 {
            self.count_length(packet.ip_length, packet.count - 1);
            self.iat_min_us = 0;
            self.sums[sender].add_further(packet);
            self.ranges[sender].raise_length(packet.ip_length);
        }
        self.count_length(packet.last_ip_length, 1);
        if self.hooks & packet.hook as u8 == 0 {
            self.hooks |= packet.hook as u8;
        }
        let first = self.sums[sender].packets == 0;
        if !first {
            let gap_us = now.gap_us(self.last[sender]);
            self.sums[sender].sample(gap_us);
        }
        self.last[sender] = now;
        self.sums[sender].add(packet);
        self.ranges[sender].add(packet);
        let flags = packet.tcp_flags;
        self.sums[sender].acknowledgements += u32::from(flags & ACK != 0) * packet.count;
        self.sums[sender].pushes += u32::from(flags & PSH != 0);
        if flags & (SYN | ACK) == SYN {
            self.syn_senders |= 1 << sender;
        }
        let kept = self.firsts;
        if !first && flags & !(PSH | ACK) == 0 && usize::from(kept) >= FIRST_PACKETS {
            return None;
        }
        let kept_now = u32::from(kept) + packet.count;
        self.firsts = if kept_now < FIRST_PACKETS as u32 { kept_now as u8 } else { FIRST_PACKETS as u8 };
        Some(Rare { now, first, answered: self.sums[sender ^ 1].packets > 0, kept })
    }

    /// Whether the packet is the first packet with payload in its direction.
    #[inline(always)]
    pub(crate) fn is_first_payload(&self, packet: &Packet) -> bool {
        packet.payload_bytes > 0 && self.sums[black_box(packet.sender as usize) & 1].payload_packets == 0
    }

    #[inline(always)]
    fn count_length(&mut self, ip_length: u32, packets: u32) {
        self.lengths[length_bin(ip_length) & (LENGTH_BINS - 1)] += packets;
    }

    /// Time of the last packet, in either direction.
    #[inline(always)]
    #[must_use]
    pub const fn last(&self) -> Stamp {
        let [lower, upper] = self.last;
        lower.later(upper)
    }

    /// Number of packets in the packet's direction, and in the other one.
    #[inline(always)]
    pub(crate) fn sent(&self, packet: &Packet) -> (u32, u32) {
        let sender = black_box(packet.sender as usize) & 1;
        (self.sums[sender].packets, self.sums[sender ^ 1].packets)
    }

    /// Number of packets in both directions.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        let [lower, upper] = &self.sums;
        lower.packets as u64 + upper.packets as u64
    }

    /// Frame bytes of both directions, without FCS.
    #[must_use]
    pub const fn frame_bytes(&self) -> u64 {
        self.sums[0].frame_bytes + self.sums[1].frame_bytes
    }
}

impl ColdCounters {
    /// Initializes the cold counters of a flow without packets, in place. `birth` is the number of entries that the
    /// partition had before this one.
    #[inline(always)]
    pub(crate) fn open(&mut self, packet: &Packet, birth: u64) {
        zero(must_cast_mut::<Self, [u64; size_of::<Self>() / 8]>(self));
        let [source, destination] = packet.macs;
        self.macs = match packet.sender {
            Sender::Lower => [source, destination],
            Sender::Upper => [destination, source],
        };
        self.birth = birth as u32;
    }

    /// Whether a packet with SYN belongs to the entry of these counters. The entry has `sent` packets in the packet's
    /// direction and `answered` packets in the other. Every packet that may open a connection starts an entry of its
    /// own, with two exceptions: a SYN,ACK that answers a SYN of this entry, and a retransmission of the packet that
    /// started this entry.
    #[inline(always)]
    pub(crate) fn go_on_with(&self, (sent, answered): (u32, u32), packet: &Packet) -> bool {
        let opening = opening(packet);
        let sender = black_box(packet.sender as usize) & 1;
        let (own, other) = (&self.directions[sender], &self.directions[sender ^ 1]);
        if opening == 0 || opening == BY_SYN_ACK && other.opening == BY_SYN {
            return true;
        }
        // One comparison for four conditions: the direction was opened in the same way, with the same number, it has
        // sent nothing else, and the other direction has sent nothing. A packet with SYN that opens no connection has
        // FIN or RST.
        let [fins, syns, resets] = [own.flags[0], own.flags[1], own.flags[2]];
        let others = sent ^ syns | fins | resets | answered;
        u32::from(own.opening ^ opening) | own.initial_sequence ^ packet.sequence | others == 0
    }

    /// Counts a packet in the cold counters.
    #[inline(always)]
    pub(crate) fn count(&mut self, rare: Rare, packet: &Packet) {
        let direction = &mut self.directions[black_box(packet.sender as usize) & 1];
        if rare.first {
            direction.first = rare.now;
            direction.window = packet.window;
            direction.dscp = packet.dscp;
        }
        let opening = opening(packet);
        if opening > direction.opening {
            direction.opening = opening;
            direction.initial_sequence = packet.sequence;
        }
        // Without a branch for each flag: the verifier would follow both ways of each.
        for (counter, bit) in direction.flags.iter_mut().zip(RARE_FLAGS) {
            let times = if ONCE_PER_BUFFER >> bit & 1 == 1 { 1 } else { packet.count };
            *counter += u32::from(packet.tcp_flags >> bit & 1) * times;
        }
        if usize::from(rare.kept) < FIRST_PACKETS {
            self.keep(rare, packet);
        }
    }

    /// Stores that `kept` bytes of the packet's payload are kept, and the time.
    #[inline(always)]
    pub(crate) fn note_payload(&mut self, packet: &Packet, now: Stamp, kept: u32) {
        let sender = black_box(packet.sender as usize) & 1;
        self.payload[sender] = now;
        self.payload_kept[sender] = kept as u16;
    }

    /// Whether a quoted packet is kept.
    #[inline(always)]
    pub(crate) const fn has_quote(&self) -> bool {
        self.quote.is_there()
    }

    /// Keeps the packet that an ICMP error quotes.
    #[inline(always)]
    pub(crate) const fn keep_quote(&mut self, quote: KeptQuote) {
        self.quote = quote;
    }

    /// Adds `packet` to the kept first packets.
    #[inline(always)]
    fn keep(&mut self, rare: Rare, packet: &Packet) {
        let sender = black_box(packet.sender as usize) & 1;
        let [own, other] = [sender, sender ^ 1].map(|sender| self.directions[sender].first);
        let first = if rare.answered && other < own { other } else { own };
        let offset_us = rare.now.gap_us(first);
        for nth in 0..FIRST_PACKETS as u32 {
            // Without `black_box` the verifier would treat each iteration as a different state, by the known range of
            // the number.
            let at = black_box(usize::from(rare.kept)) + nth as usize;
            if at >= FIRST_PACKETS || nth >= packet.count {
                break;
            }
            let length = if nth + 1 == packet.count { packet.last_ip_length } else { packet.ip_length };
            self.firsts_offset_us[at] = offset_us;
            self.firsts_length[at] = saturate_u16(length);
            self.firsts_upper |= (packet.sender as u8) << at;
            self.firsts_payload |= u8::from(packet.payload_bytes > 0) << at;
        }
    }
}

/// Sets the words to zero one by one, with a zero that the compiler does not recognise. Otherwise it would call memset,
/// which in a kernel program is a loop over bytes.
#[inline(always)]
fn zero(words: &mut [u64]) {
    let zero = black_box(0);
    for word in words {
        *word = zero;
    }
}

impl FlowValue {
    /// The counters of a flow that consists of this packet.
    #[must_use]
    pub fn of(packet: &Packet) -> Self {
        let mut value = Self::zeroed();
        value.start(packet);
        value
    }

    /// Initializes this with one packet, in place.
    #[inline(always)]
    pub fn start(&mut self, packet: &Packet) {
        self.counts.open(packet);
        self.cold.open(packet, 0);
        self.count(packet, packet.time);
    }

    /// Adds a packet of the same flow.
    #[inline(always)]
    pub fn add(&mut self, packet: &Packet) {
        let now = packet.time.later(self.counts.last());
        self.counts.wait(now);
        self.count(packet, now);
    }

    #[inline(always)]
    fn count(&mut self, packet: &Packet, now: Stamp) {
        if let Some(rare) = self.counts.count(packet, now) {
            self.cold.count(rare, packet);
        }
    }

    /// The counters of these packets of one flow. `None` without packets.
    pub fn of_all<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Option<Self> {
        let mut packets = packets.into_iter();
        let mut value = Self::of(packets.next()?);
        packets.for_each(|packet| value.add(packet));
        Some(value)
    }

    /// References to the counters of the flow with this key.
    #[must_use]
    pub const fn counted<'a>(&'a self, key: &'a FlowKey) -> Counted<'a> {
        Counted { key, counts: &self.counts, cold: &self.cold, chunks: None }
    }
}

impl<'a> Counted<'a> {
    /// The first payload bytes of each direction, if they are kept.
    #[must_use]
    pub fn contents(&self) -> Option<Contents<'a>> {
        let chunks = self.chunks?;
        Some([Sender::Lower, Sender::Upper].map(|sender| {
            let at = sender as usize;
            let bytes = chunks.bytes(sender, self.cold.payload_kept[at]);
            let content = Content { time_ns: self.cold.payload[at].ns(), bytes };
            (self.counts.sums[at].payload_packets > 0).then_some(content)
        }))
    }

    /// The packet that the first ICMP error of the flow quotes.
    #[must_use]
    pub fn quote(&self) -> Option<Quote> {
        self.cold.quote.get()
    }

    /// Time of the first packet in either direction, in ns.
    #[must_use]
    pub fn first_ns(&self) -> u64 {
        let ([lower, upper], [lower_sums, upper_sums]) = (&self.cold.directions, &self.counts.sums);
        if upper_sums.packets == 0 || (lower_sums.packets > 0 && lower.first <= upper.first) {
            lower.first.ns()
        } else {
            upper.first.ns()
        }
    }

    /// The order of this partial flow among those of its flow in one partition, for those with equal start times.
    #[must_use]
    pub const fn birth(&self) -> u32 {
        self.cold.birth
    }

    /// The partial flow, which can be merged with others.
    #[must_use]
    pub fn part(&self) -> Part {
        let (counts, cold) = (self.counts, self.cold);
        let stats = FlowStats {
            last_ns: counts.last().ns(),
            iat_squares: counts.iat_squares.into(),
            lengths: counts.lengths.map(u64::from),
            iat_min_us: sampled(counts.iat_min_us),
            iat_max_us: counts.iat_max_us.into(),
            parts: 1,
            macs: cold.macs,
            first_sender: counts.first_sender,
            syn_senders: counts.syn_senders,
            hooks: counts.hooks,
            directions: [0, 1].map(|sender| self.direction(sender)),
            firsts: FirstPackets {
                count: counts.firsts,
                upper: cold.firsts_upper,
                payload: cold.firsts_payload,
                offset_us: cold.firsts_offset_us.map(u64::from),
                length: cold.firsts_length,
            },
        };
        Part { key: *self.key, stats }
    }

    fn direction(&self, sender: usize) -> Direction {
        let counts = self.counts;
        let (sums, range, rare) = (&counts.sums[sender], &counts.ranges[sender], &self.cold.directions[sender]);
        let mut flags = [0; 8];
        for (count, bit) in rare.flags.into_iter().zip(RARE_FLAGS) {
            flags[usize::from(bit)] = count.into();
        }
        flags[PSH.trailing_zeros() as usize] = sums.pushes.into();
        flags[ACK.trailing_zeros() as usize] = sums.acknowledgements.into();
        Direction {
            first_ns: rare.first.ns(),
            last_ns: counts.last[sender].ns(),
            packets: sums.packets.into(),
            frame_bytes: sums.frame_bytes,
            ip_bytes: sums.ip_bytes,
            payload_bytes: sums.payload_bytes,
            length_squares: sums.length_squares,
            iat_squares: sums.iat_squares.into(),
            flags,
            payload_packets: sums.payload_packets.into(),
            parts: u32::from(sums.packets > 0),
            iat_min_us: sampled(sums.iat_min_us),
            iat_max_us: sums.iat_max_us.into(),
            length_min: range.length_min,
            length_max: range.length_max,
            window: rare.window,
            opening: match rare.opening {
                BY_SYN => Some(Opening::Syn(rare.initial_sequence)),
                BY_SYN_ACK => Some(Opening::SynAck(rare.initial_sequence)),
                _ => None,
            },
            dscp: rare.dscp,
            ttl_min: range.ttl_min,
            ttl_max: range.ttl_max,
        }
    }
}

/// The smallest inter-arrival time as [`Part`]s store it.
fn sampled(gap_us: u32) -> u64 {
    if gap_us == NO_GAP { NO_SAMPLE } else { gap_us.into() }
}

// The kernel and the agent must agree on every byte. Maps start at a page boundary, so a size of whole cache lines
// gives an alignment to cache lines. `repr(align(64))` must not be used on anything that a kernel program copies:
// LLVM's BPF back end expands a copy in steps of the alignment, and a copy shorter than one step is lost.
const _: () = assert!(size_of::<FlowEntry>() == 256 && align_of::<FlowEntry>() == 8);
const _: () = assert!(size_of::<FlowKey>() + offset_of!(FlowCounts, last) == 64);
const _: () = assert!(size_of::<FlowKey>() + offset_of!(FlowCounts, sums) == 128 && size_of::<Sums>() == 64);
const _: () = assert!(size_of::<ColdCounters>() == 192);
