//! The size of the flow table and its memory.

use flowml_common::content::{PayloadChunk, PayloadLimit};
use flowml_common::counts::{ColdCounters, FlowEntry};
use flowml_common::handover::Constants;
use flowml_common::table::{Bucket, Head, Shape};
use flowml_common::tunnel::{Outer, PortList};

/// The default number of flows for each CPU and epoch.
pub const DEFAULT_CAPACITY: u32 = 131_072;

/// The default capacity is halved on hosts with many CPUs or little memory until the table locks at most this memory, in
/// bytes, and at most [`DEFAULT_SHARE`] of the host's.
const DEFAULT_MEMORY: u64 = 512 << 20;

/// One of this number of parts of the host's memory.
const DEFAULT_SHARE: u64 = 32;

/// The number of epochs.
pub(in crate::capture) const EPOCHS: u32 = 2;

/// The size of the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Number of CPU numbers with partitions: the highest plus one ([`Cpus::numbers`](crate::capture::cpus::Cpus::numbers)).
    pub cpus: u32,
    /// The shape of a partition.
    pub shape: Shape,
    /// The limit of kept payload.
    pub payload: Option<PayloadLimit>,
    /// The ports of tunnels, if the programs look into tunnels.
    pub tunnels: Option<PortList>,
}

impl Size {
    /// The size for a capacity in flows for each CPU, this payload limit and these tunnels. Without a capacity it is the
    /// default on a host with this memory in bytes, or with enough if that is unknown.
    #[must_use]
    pub fn new(
        cpus: u32,
        capacity: Option<u32>,
        payload: Option<PayloadLimit>,
        tunnels: Option<PortList>,
        memory: Option<u64>,
    ) -> Self {
        let size = |capacity| Self { cpus, shape: Shape::for_capacity(capacity), payload, tunnels };
        if let Some(capacity) = capacity {
            return size(capacity);
        }
        let share = memory.map_or(u64::MAX, |memory| memory / DEFAULT_SHARE);
        let mut capacity = DEFAULT_CAPACITY;
        while capacity > 1024 && size(capacity).bytes() > DEFAULT_MEMORY.min(share) {
            capacity /= 2;
        }
        size(capacity)
    }

    pub(super) const fn of(constants: &Constants) -> Self {
        let Constants { cpus, buckets, payload, tunnels, ports, .. } = *constants;
        let tunnels = if tunnels == 0 { None } else { Some(ports) };
        Self { cpus, shape: Shape { buckets }, payload: PayloadLimit::new(payload), tunnels }
    }

    pub(super) const fn partitions(self) -> u32 {
        self.cpus * EPOCHS
    }

    /// The kernel memory that the table locks, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        let entry = size_of::<(FlowEntry, ColdCounters)>() as u64
            + self.chunks_of_entry() as u64 * PayloadChunk::BYTES as u64
            + self.outers_of_entry() as u64 * size_of::<Outer>() as u64;
        let partition = size_of::<Head>() as u64
            + self.shape.buckets as u64 * size_of::<Bucket>() as u64
            + self.shape.entries() as u64 * entry;
        self.partitions() as u64 * partition
    }

    /// Number of places for the tunnel of an entry.
    pub(super) const fn outers_of_entry(self) -> u32 {
        self.tunnels.is_some() as u32
    }

    pub(super) const fn chunks_of_entry(self) -> u32 {
        match self.payload {
            Some(limit) => limit.chunks_of_entry(),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_table_takes_a_limited_share_of_memory() {
        const GIB: u64 = 1 << 30;
        let entries = |cpus, memory| Size::new(cpus, None, None, None, memory).shape.entries();
        assert_eq!(entries(2, Some(64 * GIB)), DEFAULT_CAPACITY);
        assert_eq!(entries(2, None), DEFAULT_CAPACITY);
        assert_eq!(entries(16, Some(64 * GIB)), DEFAULT_CAPACITY / 4, "all CPUs together have a limit");
        assert_eq!(entries(2, Some(4 * GIB)), DEFAULT_CAPACITY / 2, "224 MiB are more than 1/32 of it");
        assert_eq!(entries(256, Some(GIB)), 1024, "the smallest default");
        assert_eq!(Size::new(2, Some(4096), None, None, Some(GIB)).shape.entries(), 4096, "as requested");
    }
}
