//! The statistics of a flow and of its two directions.

use crate::headers::Mac;

use super::firsts::FirstPackets;
use super::key::{FlowKey, Sender};
use super::tcp::Opening;

/// Number of bins of the length histogram: IP total length below 64, then doubling, the last bin from 4,096 on.
pub const LENGTH_BINS: usize = 8;

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
    /// Number of packets by TCP flag, in the order of [`TCP_FLAGS`](super::TCP_FLAGS).
    pub flags: [u64; 8],
    /// Number of packets with payload.
    pub payload_packets: u64,
    /// Number of runs of packets. The inter-arrival times between runs are unknown. 0 without packets.
    pub parts: u32,
    /// Smallest inter-arrival time, in µs; [`NO_SAMPLE`] without one.
    pub iat_min_us: u64,
    /// Largest inter-arrival time, in µs.
    pub iat_max_us: u64,
    /// The SYN with which this direction opened its TCP connection.
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
pub struct PartialFlow {
    /// The key of the flow.
    pub key: FlowKey,
    /// The statistics.
    pub stats: FlowStats,
}

impl Direction {
    /// Number of samples of inter-arrival time.
    pub const fn iat_samples(&self) -> u64 {
        self.packets.saturating_sub(self.parts as u64)
    }
}

impl FlowStats {
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
}

#[inline(always)]
pub(crate) const fn saturate_u16(value: u32) -> u16 {
    if value > u16::MAX as u32 { u16::MAX } else { value as u16 }
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
