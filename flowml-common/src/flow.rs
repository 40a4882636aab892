//! The key of a flow, its statistics, and merging the statistics of its partial flows.
//!
//! A flow that is metered on several CPUs, hooks or epochs consists of several *partial flows*. Within a partial flow
//! every inter-arrival time is known. [`FlowStats::merge`] adds partial flows without an inter-arrival time between
//! them. It is commutative and associative. [`FlowStats::follow`] does the same, and adds the inter-arrival time
//! between the two if one follows the other. Therefore samples of inter-arrival time = packets − partial flows, always.

use core::cmp::Ordering;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable, must_cast_ref};

use crate::headers::{Mac, protocol};
use crate::packet::{Sender, icmp_answer};
use crate::time::to_micros;

/// The version of IP.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum IpVersion {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// An address and its version. An IPv6 address is a 128-bit number. An IPv4 address is the number of its IPv4-mapped
/// IPv6 address (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2). The version is separate, because an IPv6 packet may have mapped
/// addresses, which are not IPv4 addresses.
///
/// Addresses are ordered by their 16 bytes in network byte order.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    high: u64,
    low: u64,
    version: IpVersion,
}

impl Hash for Address {
    /// Hashes the 16 bytes at once, which takes a third of the time of the three fields. The version is left out: few
    /// packets have an IPv6 address that an IPv4 address is mapped to.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from(self.high) << 64 | u128::from(self.low));
    }
}

impl Address {
    const V4_MAPPED: u64 = 0xffff_0000_0000;

    /// From an IPv4 address as a number in host byte order.
    #[inline(always)]
    pub const fn from_v4(address: u32) -> Self {
        Self { high: 0, low: Self::V4_MAPPED | address as u64, version: IpVersion::V4 }
    }

    /// From the upper and the lower half of an IPv6 address, in host byte order.
    #[inline(always)]
    pub const fn from_v6(high: u64, low: u64) -> Self {
        Self { high, low, version: IpVersion::V6 }
    }

    /// The 16 bytes in network byte order. For IPv4 they are those of the mapped address.
    pub const fn octets(self) -> [u8; 16] {
        (((self.high as u128) << 64) | self.low as u128).to_be_bytes()
    }

    /// The upper and the lower half, in host byte order.
    #[inline(always)]
    pub(crate) const fn halves(self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// The version of IP.
    pub const fn version(self) -> IpVersion {
        self.version
    }

    /// The address as a type of the standard library.
    pub const fn to_ip(self) -> IpAddr {
        match self.version {
            IpVersion::V4 => IpAddr::V4(Ipv4Addr::from_bits(self.low as u32)),
            IpVersion::V6 => IpAddr::V6(Ipv6Addr::from_bits((self.high as u128) << 64 | self.low as u128)),
        }
    }
}

/// An endpoint of a flow. The port is 0 for protocols without ports. For ICMP see [`icmp_answer`].
///
/// [`icmp_answer`]: crate::packet::icmp_answer
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address.
    pub address: Address,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// Whether it comes first in a key with `other`, which has the same version. A derived comparison would also
    /// compare the versions, for every packet.
    #[inline(always)]
    const fn is_first(&self, other: &Self) -> bool {
        let (one, two) = (&self.address, &other.address);
        if one.high != two.high {
            one.high < two.high
        } else if one.low != two.low {
            one.low < two.low
        } else {
            self.port <= other.port
        }
    }
}

/// Number of 32-bit halves of words in a [`FlowKey`].
pub const KEY_HALVES: usize = size_of::<FlowKey>() / 4;

/// The key of a flow: 48 bytes, equal for both directions.
///
/// The words are: lower address (upper half, lower half), upper address (upper half, lower half), then
/// `lower port | upper port << 16 | interface << 32`, then
/// `VLAN | inner VLAN << 16 | protocol << 32 | fragment << 40 | IPv6 << 41`.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[expect(clippy::derived_hash_with_manual_eq, reason = "keys are equal exactly if their words are")]
#[repr(transparent)]
pub struct FlowKey([u64; 6]);

impl PartialEq for FlowKey {
    /// The derived comparison calls `memcmp`, which takes longer than the six words.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl FlowKey {
    /// The key of a flow between two endpoints of one version of IP, in any order, and the endpoint of the key that is
    /// the first.
    #[inline(always)]
    pub(crate) const fn between(
        [one, other]: [Endpoint; 2],
        protocol: u8,
        later_fragment: bool,
        vlans: [u16; 2],
        interface: u32,
    ) -> (Self, Sender) {
        let (sender, ends) =
            if one.is_first(&other) { (Sender::Lower, [one, other]) } else { (Sender::Upper, [other, one]) };
        (Self::new(ends, protocol, later_fragment, vlans, interface), sender)
    }

    /// The key of a flow between two endpoints of one version of IP, the smaller first. `vlans` are the outer and the
    /// inner id, 0 without one.
    #[inline(always)]
    const fn new(ends: [Endpoint; 2], protocol: u8, later_fragment: bool, vlans: [u16; 2], interface: u32) -> Self {
        let [lower, upper] = ends;
        Self([
            lower.address.high,
            lower.address.low,
            upper.address.high,
            upper.address.low,
            lower.port as u64 | (upper.port as u64) << 16 | (interface as u64) << 32,
            vlans[0] as u64
                | (vlans[1] as u64) << 16
                | (protocol as u64) << 32
                | (later_fragment as u64) << 40
                | (matches!(lower.address.version, IpVersion::V6) as u64) << 41,
        ])
    }

    /// The endpoint that is `sender`.
    pub const fn endpoint(&self, sender: Sender) -> Endpoint {
        let (high, low, port) = match sender {
            Sender::Lower => (self.0[0], self.0[1], self.0[4] as u16),
            Sender::Upper => (self.0[2], self.0[3], (self.0[4] >> 16) as u16),
        };
        Endpoint { address: Address { high, low, version: self.ip_version() }, port }
    }

    /// The version of IP.
    pub const fn ip_version(&self) -> IpVersion {
        if self.0[5] >> 41 & 1 == 1 { IpVersion::V6 } else { IpVersion::V4 }
    }

    /// Interface index.
    pub const fn interface(&self) -> u32 {
        (self.0[4] >> 32) as u32
    }

    /// Outer and inner VLAN id, 0 without one.
    pub const fn vlans(&self) -> [u16; 2] {
        [self.0[5] as u16, (self.0[5] >> 16) as u16]
    }

    /// IP protocol number.
    pub const fn protocol(&self) -> u8 {
        (self.0[5] >> 32) as u8
    }

    /// Whether the packets are ICMP messages.
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol(), protocol::ICMP | protocol::ICMPV6)
    }

    /// Whether the messages are ICMP requests and their replies. Each endpoint then has the type of its messages as its
    /// port. For other messages, the sender has the type and the receiver has the code.
    pub const fn is_icmp_exchange(&self) -> bool {
        let [lower, upper] = [self.endpoint(Sender::Lower).port, self.endpoint(Sender::Upper).port];
        match icmp_answer(self.protocol(), lower as u8) {
            Some(answer) => !self.later_fragment() && answer as u16 == upper,
            None => false,
        }
    }

    /// Whether the packets are fragments after the first, which contain no ports.
    pub const fn later_fragment(&self) -> bool {
        self.0[5] >> 40 & 1 == 1
    }

    /// Whether the protocol has ports. For ICMP, type and code take their place.
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        matches!(self.protocol(), protocol::TCP | protocol::UDP | protocol::SCTP) && !self.later_fragment()
    }

    /// The same key for every interface, to join the two observations of a forwarded packet.
    #[must_use]
    pub const fn without_interface(self) -> Self {
        let mut words = self.0;
        words[4] &= 0xffff_ffff;
        Self(words)
    }

    /// Indices of the halves of words that belong to the upper halves of both addresses.
    pub(crate) const UPPER_HALVES: [usize; 4] = [0, 1, 4, 5];
    pub(crate) const LOWER_HALVES: [usize; 8] = [2, 3, 6, 7, 8, 9, 10, 11];

    /// Whether the upper halves of both addresses are zero, as for IPv4.
    #[inline(always)]
    pub(crate) const fn is_below_2_64(&self) -> bool {
        self.0[0] | self.0[2] == 0
    }

    /// The key as the input of the flow table's hash.
    #[inline(always)]
    pub(crate) fn halves(&self) -> &[u32; KEY_HALVES] {
        must_cast_ref(&self.0)
    }

    /// Equality with one branch: in the kernel a comparison field by field has six.
    #[inline(always)]
    pub(crate) const fn is(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) | (a[5] ^ b[5])) == 0
    }
}

/// Names of the TCP flags in the order of their bits (RFC 9293 §3.1). FIN is bit 0.
pub const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
/// FIN.
pub const FIN: u8 = 1;
/// SYN.
pub const SYN: u8 = 2;
/// RST.
pub const RST: u8 = 4;
/// PSH.
pub const PSH: u8 = 8;
/// ACK.
pub const ACK: u8 = 16;

/// Number of bins of the length histogram: IP total length below 64, then doubling, the last bin from 4,096 on.
pub const LENGTH_BINS: usize = 8;

/// Number of packets at the start of a flow that are kept individually.
pub const FIRST_PACKETS: usize = 8;

/// Statistics of one direction.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// Time of the first packet, in ns.
    pub first_ns: u64,
    /// Time of the last packet, in ns.
    pub last_ns: u64,
    /// Number of packets.
    pub packets: u64,
    /// Frame bytes, without FCS.
    pub frame_bytes: u64,
    /// IP bytes (total length).
    pub ip_bytes: u64,
    /// Payload bytes.
    pub payload_bytes: u64,
    /// Σ (IP total length)², in bytes². It saturates at `u64::MAX`, after 65,536 packets of 16 MiB.
    pub length_squares: u64,
    /// Σ (inter-arrival time)², in µs².
    pub iat_squares: u128,
    /// Number of packets by TCP flag, in the order of [`TCP_FLAGS`].
    pub flags: [u64; 8],
    /// Number of packets with payload.
    pub payload_packets: u64,
    /// Number of runs of packets. The inter-arrival times between runs are unknown. 0 without packets.
    pub parts: u32,
    /// Smallest inter-arrival time, in µs; [`NO_SAMPLE`] without one.
    pub iat_min_us: u64,
    /// Largest inter-arrival time, in µs.
    pub iat_max_us: u64,
    /// How this direction opened its TCP connection.
    pub opening: Option<Opening>,
    /// Smallest IP total length, in bytes.
    pub length_min: u16,
    /// Largest IP total length, in bytes. It saturates at 65,535 for jumbograms.
    pub length_max: u16,
    /// TCP window of the first packet, without scaling.
    pub window: u16,
    /// DSCP of the first packet.
    pub dscp: u8,
    /// Smallest TTL, in hops.
    pub ttl_min: u8,
    /// Largest TTL, in hops.
    pub ttl_max: u8,
}

/// The smallest inter-arrival time if there is none yet, in µs.
pub const NO_SAMPLE: u64 = u64::MAX;

/// How a direction opened its TCP connection, with its initial sequence number. A SYN without ACK is greater than one
/// with ACK: it takes precedence if both were seen.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opening {
    /// By a SYN with ACK.
    SynAck(u32),
    /// By a SYN without ACK.
    Syn(u32),
}

impl Opening {
    /// The initial sequence number.
    #[must_use]
    pub const fn sequence(self) -> u32 {
        match self {
            Self::SynAck(sequence) | Self::Syn(sequence) => sequence,
        }
    }

    /// The opening of a direction with `before` and then `next`. The first of several counts, but a SYN without ACK
    /// replaces one with ACK.
    #[must_use]
    pub const fn follow(before: Option<Self>, next: Option<Self>) -> Option<Self> {
        match (before, next) {
            (None, known) | (Some(Self::SynAck(_)), known @ Some(Self::Syn(_))) => known,
            _ => before,
        }
    }
}

/// The first packets of a flow, of both directions, individually.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstPackets {
    /// Number of packets.
    pub count: u8,
    /// Bit n is set if the upper endpoint sent packet n.
    pub upper: u8,
    /// Bit n is set if packet n had payload.
    pub payload: u8,
    /// Time of each packet since the flow's first packet, in µs. Both times are rounded down to µs before the
    /// subtraction.
    pub offset_us: [u64; FIRST_PACKETS],
    /// IP total length of each packet, in bytes.
    pub length: [u16; FIRST_PACKETS],
}

/// Statistics of a flow, from one partial flow or from several.
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowStats {
    /// Time of the last packet in either direction, in ns.
    pub last_ns: u64,
    /// Σ (inter-arrival time)² over both directions, in µs².
    pub iat_squares: u128,
    /// Number of packets by IP total length: below 64, below 128, …, below 4,096, and the rest.
    pub lengths: [u64; LENGTH_BINS],
    /// Smallest inter-arrival time over both directions, in µs; [`NO_SAMPLE`] without one.
    pub iat_min_us: u64,
    /// Largest inter-arrival time over both directions, in µs.
    pub iat_max_us: u64,
    /// Number of runs of packets, at least 1. The inter-arrival times between runs are unknown.
    pub parts: u32,
    /// MAC addresses of the lower and the upper endpoint in the first packet.
    pub macs: [Mac; 2],
    /// Sender of the first packet: a [`Sender`] as a number.
    pub first_sender: u8,
    /// A bit for each [`Sender`], set if it sent a SYN without ACK.
    pub syn_senders: u8,
    /// The hooks that counted packets, as bits of [`Hook`].
    ///
    /// [`Hook`]: crate::packet::Hook
    pub hooks: u8,
    /// The first packets.
    pub firsts: FirstPackets,
    /// Statistics by direction, indexed by [`Sender`].
    pub directions: [Direction; 2],
}

/// A partial flow: what one CPU counted of a flow in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The key of the flow.
    pub key: FlowKey,
    /// The statistics.
    pub stats: FlowStats,
}

#[inline(always)]
pub(crate) const fn saturate_u16(value: u32) -> u16 {
    if value > u16::MAX as u32 { u16::MAX } else { value as u16 }
}

/// The inter-arrival time of two packets, in µs: the difference of their whole microseconds. The first must not be
/// later.
const fn gap_us(before_ns: u64, now_ns: u64) -> u64 {
    to_micros(now_ns) - to_micros(before_ns)
}

/// The bin of the length histogram. By halving, because a chain of comparisons costs less in the kernel than a
/// logarithm.
#[inline(always)]
pub const fn length_bin(ip_length: u32) -> usize {
    if ip_length < 512 {
        if ip_length < 128 {
            if ip_length < 64 { 0 } else { 1 }
        } else if ip_length < 256 {
            2
        } else {
            3
        }
    } else if ip_length < 2048 {
        if ip_length < 1024 { 4 } else { 5 }
    } else if ip_length < 4096 {
        6
    } else {
        7
    }
}

impl Direction {
    /// Counts an inter-arrival time between partial flows.
    fn sample(&mut self, gap_us: u64) {
        self.iat_squares += u128::from(gap_us).pow(2);
        self.iat_min_us = self.iat_min_us.min(gap_us);
        self.iat_max_us = self.iat_max_us.max(gap_us);
    }

    /// Number of samples of inter-arrival time.
    pub const fn iat_samples(&self) -> u64 {
        self.packets.saturating_sub(self.parts as u64)
    }

    fn merge(&mut self, other: &Self) {
        if other.packets == 0 {
            return;
        }
        if self.packets == 0 {
            *self = *other;
            return;
        }
        let first = (other.first_ns, other.window, other.dscp).cmp(&(self.first_ns, self.window, self.dscp));
        if first == Ordering::Less {
            (self.first_ns, self.window, self.dscp) = (other.first_ns, other.window, other.dscp);
        }
        self.opening = self.opening.max(other.opening);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.packets += other.packets;
        self.frame_bytes += other.frame_bytes;
        self.ip_bytes += other.ip_bytes;
        self.payload_bytes += other.payload_bytes;
        self.length_squares = self.length_squares.saturating_add(other.length_squares);
        self.iat_squares += other.iat_squares;
        for (mine, theirs) in self.flags.iter_mut().zip(other.flags) {
            *mine += theirs;
        }
        self.payload_packets += other.payload_packets;
        self.parts = self.parts.saturating_add(other.parts);
        self.iat_min_us = self.iat_min_us.min(other.iat_min_us);
        self.iat_max_us = self.iat_max_us.max(other.iat_max_us);
        self.length_min = self.length_min.min(other.length_min);
        self.length_max = self.length_max.max(other.length_max);
        self.ttl_min = self.ttl_min.min(other.ttl_min);
        self.ttl_max = self.ttl_max.max(other.ttl_max);
    }

    /// The inter-arrival time to a partial flow that starts after this one ends, in µs.
    fn gap_us(&self, next: &Self) -> Option<u64> {
        let apart = self.packets > 0 && next.packets > 0 && self.last_ns <= next.first_ns;
        apart.then(|| gap_us(self.last_ns, next.first_ns))
    }
}

impl FirstPackets {
    /// Packet `at` as (time in µs, sent by the upper endpoint, length, had payload). Merging sorts by this tuple.
    fn get(&self, at: usize, first_us: u64) -> (u64, bool, u16, bool) {
        let bit = |mask: u8| mask >> at & 1 == 1;
        (first_us + self.offset_us[at], bit(self.upper), self.length[at], bit(self.payload))
    }

    /// The first packets of both, by time, with offsets from the earlier of the two starts.
    ///
    /// Packets within the same microsecond are in the order of [`get`](Self::get), whichever partial flow they are
    /// from.
    fn merge(&self, first_us: u64, other: &Self, other_first_us: u64) -> Self {
        let mut all = [(u64::MAX, false, 0, false); 2 * FIRST_PACKETS];
        let (mine, theirs) = (usize::from(self.count), usize::from(other.count));
        for (at, packet) in all.iter_mut().take(mine).enumerate() {
            *packet = self.get(at, first_us);
        }
        for (at, packet) in all.iter_mut().skip(mine).take(theirs).enumerate() {
            *packet = other.get(at, other_first_us);
        }
        all.sort_unstable();
        let mut merged = Self::default();
        for packet in all.iter().take((mine + theirs).min(FIRST_PACKETS)) {
            merged.append(*packet, first_us.min(other_first_us));
        }
        merged
    }

    /// These packets, followed by as many of `next` as there is room for.
    fn follow(&self, first_us: u64, next: &Self, next_first_us: u64) -> Self {
        let mut followed = *self;
        for at in 0..usize::from(next.count).min(FIRST_PACKETS - usize::from(self.count)) {
            followed.append(next.get(at, next_first_us), first_us);
        }
        followed
    }

    /// Appends a packet in the form of [`get`](Self::get). There must be fewer than [`FIRST_PACKETS`].
    fn append(&mut self, (time_us, upper, length, payload): (u64, bool, u16, bool), first_us: u64) {
        let at = usize::from(self.count);
        self.offset_us[at] = time_us - first_us;
        self.length[at] = length;
        self.upper |= u8::from(upper) << at;
        self.payload |= u8::from(payload) << at;
        self.count += 1;
    }
}

impl FlowStats {
    /// Counts an inter-arrival time between partial flows.
    fn sample(&mut self, gap_us: u64) {
        self.iat_squares += u128::from(gap_us).pow(2);
        self.iat_min_us = self.iat_min_us.min(gap_us);
        self.iat_max_us = self.iat_max_us.max(gap_us);
    }

    /// Time of the first packet in either direction, in ns.
    #[inline(always)]
    pub const fn first_ns(&self) -> u64 {
        let [lower, upper] = &self.directions;
        if upper.packets == 0 || (lower.packets > 0 && lower.first_ns <= upper.first_ns) {
            lower.first_ns
        } else {
            upper.first_ns
        }
    }

    /// Number of packets in both directions.
    pub const fn packets(&self) -> u64 {
        self.directions[0].packets + self.directions[1].packets
    }

    /// Frame bytes in both directions, without FCS.
    pub const fn frame_bytes(&self) -> u64 {
        self.directions[0].frame_bytes + self.directions[1].frame_bytes
    }

    /// Number of samples of inter-arrival time over both directions.
    pub const fn iat_samples(&self) -> u64 {
        self.packets().saturating_sub(self.parts as u64)
    }

    /// The statistics of one direction.
    pub const fn direction(&self, sender: Sender) -> &Direction {
        &self.directions[sender as usize]
    }

    /// Whether all packets of a direction in `next`, a later partial flow, came after those in this one.
    pub const fn precedes(&self, next: &Self, sender: Sender) -> bool {
        self.direction(sender).last_ns <= next.direction(sender).first_ns
    }

    /// Adds a partial flow of the same flow that was counted elsewhere. Commutative and associative. No packet is lost,
    /// and no inter-arrival time is added between the two: the sums are those within the partial flows.
    pub fn merge(&mut self, other: &Self) {
        let (first_ns, other_first_ns) = (self.first_ns(), other.first_ns());
        self.firsts = self.firsts.merge(to_micros(first_ns), &other.firsts, to_micros(other_first_ns));
        if (other_first_ns, other.first_sender, other.macs) < (first_ns, self.first_sender, self.macs) {
            (self.first_sender, self.macs) = (other.first_sender, other.macs);
        }
        self.last_ns = self.last_ns.max(other.last_ns);
        self.iat_squares += other.iat_squares;
        for (mine, theirs) in self.lengths.iter_mut().zip(other.lengths) {
            *mine += theirs;
        }
        self.iat_min_us = self.iat_min_us.min(other.iat_min_us);
        self.iat_max_us = self.iat_max_us.max(other.iat_max_us);
        self.parts = self.parts.saturating_add(other.parts);
        self.syn_senders |= other.syn_senders;
        self.hooks |= other.hooks;
        for (mine, theirs) in self.directions.iter_mut().zip(&other.directions) {
            mine.merge(theirs);
        }
    }

    /// Adds a partial flow that was counted later. If it starts after this one ends, the time between them is one more
    /// inter-arrival time, and the result is what one CPU would have counted for all packets.
    pub fn follow(&mut self, next: &Self) {
        let (before, next_first_ns) = (*self, next.first_ns());
        self.merge(next);
        if before.last_ns <= next_first_ns {
            self.sample(gap_us(before.last_ns, next_first_ns));
            self.parts -= 1;
            // If the times are equal, the packets of this partial flow were first.
            (self.first_sender, self.macs) = (before.first_sender, before.macs);
            self.firsts = before.firsts.follow(to_micros(before.first_ns()), &next.firsts, to_micros(next_first_ns));
        }
        for ((direction, before), next) in self.directions.iter_mut().zip(&before.directions).zip(&next.directions) {
            if let Some(gap_us) = before.gap_us(next) {
                direction.sample(gap_us);
                direction.parts -= 1;
                (direction.window, direction.dscp) = (before.window, before.dscp);
                direction.opening = Opening::follow(before.opening, next.opening);
            }
        }
    }
}
