//! The counters of one CPU for a flow in one epoch, laid out so that a packet touches few cache lines.
//!
//! An epoch has fewer than 2³² packets of a CPU and lasts less than 2³² µs. Therefore 32-bit counters, and sums of
//! squares of microseconds, cannot overflow. The sum of squares of lengths can: jumbograms have up to 16 MiB in a
//! capture and 512 KiB in the kernel. It saturates, here and when partial flows are merged. [`FlowStats`] is the
//! result of merging several epochs and CPUs.
//!
//! [`FlowStats`]: crate::flow::FlowStats

mod cold;
mod counted;
mod hot;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::flow::FlowKey;
use crate::packet::Packet;
use crate::time::Stamp;

pub use self::cold::ColdCounters;
pub use self::counted::Counted;
pub(crate) use self::hot::zero;
pub use self::hot::{FlowCounts, Rare};

/// An entry of the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowEntry {
    /// The key of the flow.
    pub key: FlowKey,
    /// The counters that every packet changes.
    pub counts: FlowCounts,
}

/// All counters of a flow in one value, for stores other than the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowValue {
    counts: FlowCounts,
    cold: ColdCounters,
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
        Counted { key, counts: &self.counts, cold: &self.cold, chunks: None, outer: None }
    }
}

// The kernel and the agent must agree on every byte. Maps start at a page boundary, so a size of whole cache lines
// gives an alignment to cache lines. `repr(align(64))` must not be used on anything that a kernel program copies:
// LLVM's BPF back end expands a copy in steps of the alignment, and a copy shorter than one step is lost.
const _: () = assert!(size_of::<FlowEntry>() == 256 && align_of::<FlowEntry>() == 8);
const _: () = assert!(size_of::<FlowKey>() + offset_of!(FlowCounts, last) == 64);
const _: () = assert!(size_of::<FlowKey>() + offset_of!(FlowCounts, sums) == 128 && size_of::<hot::Sums>() == 64);
const _: () = assert!(size_of::<ColdCounters>() == 192);
