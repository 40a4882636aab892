//! The counters that every packet of a flow changes.

use core::hint::black_box;

use bytemuck::{Pod, Zeroable, must_cast_mut};

use crate::flow::{ACK, FIRST_PACKETS, LENGTH_BINS, PSH, SYN, length_bin, saturate_u16};
use crate::packet::Packet;
use crate::time::Stamp;

/// The smallest inter-arrival time of an entry that has none yet, in µs.
pub(super) const NO_GAP: u32 = u32::MAX;

/// Minimum and maximum of some fields of the packets in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Range {
    pub(super) length_min: u16,
    pub(super) length_max: u16,
    pub(super) ttl_min: u8,
    pub(super) ttl_max: u8,
}

/// The counters of one direction that every packet changes: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Sums {
    pub(super) frame_bytes: u64,
    pub(super) ip_bytes: u64,
    pub(super) payload_bytes: u64,
    pub(super) length_squares: u64,
    pub(super) iat_squares: u64,
    pub(super) packets: u32,
    pub(super) payload_packets: u32,
    pub(super) iat_min_us: u32,
    pub(super) iat_max_us: u32,
    pub(super) pushes: u32,
    pub(super) acknowledgements: u32,
}

/// The counters of a flow that every packet changes: the rest of the key's cache line and three more lines. A packet
/// touches the key's line, the line after it, and the line of its direction. The fields are those of [`FlowStats`], in
/// the order of use.
///
/// [`FlowStats`]: crate::flow::FlowStats
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowCounts {
    // In the key's line. Most packets only read it, and a line without a write need not be written back.
    pub(super) ranges: [Range; 2],
    pub(super) first_sender: u8,
    pub(super) syn_senders: u8,
    pub(super) hooks: u8,
    /// Number of first packets that the cold counters have.
    pub(super) firsts: u8,
    // One line.
    /// Time of the last packet, by sender; 0 without one.
    pub(super) last: [Stamp; 2],
    pub(super) iat_squares: u64,
    pub(super) lengths: [u32; LENGTH_BINS],
    pub(super) iat_min_us: u32,
    pub(super) iat_max_us: u32,
    // One line for each direction.
    pub(super) sums: [Sums; 2],
}

/// A packet that changes cold counters: one of the first of the flow or of its direction, or one with rare flags.
#[derive(Clone, Copy)]
#[must_use]
pub struct Rare {
    /// The time at which the packet is counted.
    pub(super) now: Stamp,
    /// Whether the packet is the first of its direction.
    pub(super) first: bool,
    /// Whether the other direction has packets.
    pub(super) answered: bool,
    /// Number of first packets of the flow that are already kept.
    pub(super) kept: u8,
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

    /// Counts a packet. Returns `Some` if the cold counters have to count it too. `now` is the packet's own time, but not
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

/// Sets the words to zero one by one, with a zero that the compiler does not recognise. Otherwise it would call memset,
/// which in a kernel program is a loop over bytes.
#[inline(always)]
pub(crate) fn zero(words: &mut [u64]) {
    let zero = black_box(0);
    for word in words {
        *word = zero;
    }
}
