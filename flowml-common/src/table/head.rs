//! The counters of a partition, without its flows.

use bytemuck::{Pod, Zeroable};

use crate::headers::protocol;
use crate::packet::Skipped;
use crate::tunnel::TunnelCounts;

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

/// Adds counts to sums, each at its place: by reason, or by protocol.
pub fn add_counts<const N: usize>(sums: &mut [Count; N], more: &[Count; N]) {
    for (sum, count) in sums.iter_mut().zip(more) {
        sum.add(count.packets, count.bytes);
    }
}

/// The protocols by which overflow is counted. The last counts all others.
pub const OVERFLOW_PROTOCOLS: [&str; 6] = ["tcp", "udp", "icmp", "icmpv6", "sctp", "other"];

/// The index of a protocol in [`OVERFLOW_PROTOCOLS`].
#[inline(always)]
pub(super) const fn overflow_index(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 0,
        protocol::UDP => 1,
        protocol::ICMP => 2,
        protocol::ICMPV6 => 3,
        protocol::SCTP => 4,
        _ => 5,
    }
}

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
    pub(super) last: u64,
    /// Number of packets that should have started another entry of their flow, but are in the previous one because its
    /// bucket was crowded.
    pub boundaries_lost: u64,
    reserved: u64,
    /// Packets in no flow, by [`Skipped`].
    pub skipped: [Count; Skipped::COUNT],
    /// Packets for which the table was full, by protocol.
    pub overflow: [Count; OVERFLOW_PROTOCOLS.len()],
    /// Encapsulations of the packets, if the programs look into tunnels.
    pub tunnels: TunnelCounts,
    /// The size is a power of two, because the kernel then finds an element without a multiplication.
    rest: [u64; 30],
}

impl Head {
    /// Adds the counters of another partition, including its entries.
    pub fn merge(&mut self, other: &Self) {
        add_counts(&mut self.skipped, &other.skipped);
        add_counts(&mut self.overflow, &other.overflow);
        self.received.add(other.received.packets, other.received.bytes);
        self.entries += other.entries;
        self.boundaries_lost += other.boundaries_lost;
        self.tunnels.merge(&other.tunnels);
    }

    /// The number of the entry in which the last packet was counted.
    #[must_use]
    pub fn last_entry(&self) -> Option<usize> {
        self.last.checked_sub(1).map(|number| number as usize)
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, reason: Skipped, packets: u64, bytes: u64) {
        self.received.add(packets, bytes);
        self.skipped[reason as usize].add(packets, bytes);
    }
}
