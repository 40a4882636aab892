//! The flow table in the kernel, for the thread that drains it: its state, and clearing partitions.

use std::mem::offset_of;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use aya::maps::{Array, ArrayOfMaps, MapData};
use flowml_common::content::PayloadChunk;
use flowml_common::counts::{ColdCounters, FlowEntry};
use flowml_common::handover::{Account, Constants};
use flowml_common::table::{Bucket, Count, Head, Seed, Shape};
use flowml_common::time::Stamp;
use flowml_common::tunnel::Outer;
use sha1::{Digest as _, Sha1};

use super::super::error::{CaptureError, os_error};
use super::super::handover::{Ledger, Step};
use super::super::pin_error::PinError;
use super::super::pins::Pins;
use super::super::shared::SharedArray;
use super::clock::monotonic_ns;
use super::size::{EPOCHS, Size};
use crate::process::capabilities::{self, CapabilitySet};

/// The occupancy of a partition at which the agent drains early. The rest is for flows that arrive until then: packets
/// find room until 85 %. A lower value would make more epochs, in which flows of many packets have more entries.
const HIGH_WATER: f64 = 0.6;

/// The occupancy of a partition at which the agent drains early if the flows have fewer than [`FEW_PACKETS`] packets on
/// average. Such flows have as many entries in shorter epochs, and their processing starts earlier.
const LOW_WATER: f64 = 1.0 / 16.0;

/// See [`LOW_WATER`].
const FEW_PACKETS: u64 = 2;

/// The age of an epoch from which [`LOW_WATER`] applies. In a younger one busy flows have few packets too.
const KNOWN_AFTER: Duration = Duration::from_millis(150);

/// Epochs end with slots of at least this length.
const SHORTEST_EPOCH: Duration = Duration::from_secs(1);

/// Whether a partition with this number of entries and packets should be drained, in an epoch of this age.
fn is_filling(entries: u64, packets: u64, shape: Shape, age: Duration) -> bool {
    let occupancy = entries as f64 / f64::from(shape.entries());
    let has_short_flows = age >= KNOWN_AFTER && packets < FEW_PACKETS * entries;
    occupancy >= HIGH_WATER || occupancy >= LOW_WATER && has_short_flows
}

/// Waits until running programs have ended.
pub(super) struct GracePeriod {
    pub(super) slot: ArrayOfMaps<MapData, Array<MapData, u32>>,
    pub(super) map: Array<MapData, u32>,
}

impl GracePeriod {
    /// Waits for one RCU grace period, in which every running program ends. The kernel waits before the update of any
    /// map of maps returns (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c).
    pub(super) fn wait(&mut self) -> Result<(), CaptureError> {
        Ok(self.slot.set(0, &self.map, 0)?)
    }
}

/// The flow table in the kernel, for the thread that drains it.
pub struct FlowTable {
    /// The programs' variable `EPOCH`.
    pub(super) epoch_variable: Array<MapData, u32>,
    pub(super) ledger: Ledger,
    pub(super) grace: GracePeriod,
    pub(super) heads: SharedArray<Head>,
    pub(super) strays: SharedArray<Count>,
    pub(super) buckets: SharedArray<Bucket>,
    pub(super) entries: SharedArray<FlowEntry>,
    pub(super) cold: SharedArray<ColdCounters>,
    pub(super) chunks: SharedArray<PayloadChunk>,
    pub(super) outers: SharedArray<Outer>,
    pub(super) constants: Constants,
    pub(super) size: Size,
    /// The epoch that the programs write to.
    pub(super) epoch: u32,
    /// Time of its start.
    pub(super) began: Stamp,
    /// Number of epochs to drain that started before this agent did.
    pub(super) inherited: u32,
}

impl FlowTable {
    /// Continues from the step at which an earlier agent ended.
    pub(super) fn inherit(&mut self, pinned: Option<&Pins>) -> Result<(), CaptureError> {
        let Some(pins) = pinned else { return Ok(()) };
        self.inherited = match self.ledger.step(self.epoch) {
            Some(Step::Counting) => 1,
            Some(Step::Ended) => 2,
            Some(Step::Committed) => {
                self.clear(self.epoch ^ 1);
                1
            }
            None => {
                let (folder, what) = (pins.folder().to_owned(), "the epoch matches no drain".to_owned());
                return Err(PinError::Damaged { folder, what }.into());
            }
        };
        Ok(())
    }

    /// The secret of the hash, for a table in vectors in which each flow has the same entry.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        self.constants.seed
    }

    /// The counts that earlier agents took from the table.
    #[must_use]
    pub const fn earlier(&self) -> &Account {
        self.ledger.earlier()
    }

    /// An identity of this table. It follows from the table's secret and does not reveal it.
    #[must_use]
    pub fn identity(&self) -> [u8; 20] {
        Sha1::digest(bytemuck::bytes_of(&self.constants)).into()
    }

    /// Number of drains by all agents.
    #[must_use]
    pub fn drains(&self) -> u64 {
        self.ledger.drains()
    }

    /// Records for the next agent which part of the counts so far may be in no record.
    pub(crate) fn set_unreported(&mut self, unreported: Count) {
        self.ledger.set_unreported(unreported);
    }

    /// Records for the next agent that everything that this agent took was written.
    pub(crate) fn set_reported(&mut self) {
        self.ledger.set_reported();
    }

    /// The size of the table.
    #[must_use]
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The capabilities that draining needs, found by trying it without any. None from Linux 5.19 on, where a
    /// descriptor of the map is enough. Before that CAP_BPF, if `kernel.unprivileged_bpf_disabled` is set.
    ///
    /// # Errors
    /// If the kernel refuses the update for another reason, or refuses to suspend capabilities.
    pub fn needs(&mut self) -> Result<CapabilitySet, CaptureError> {
        let refused = |error: &CaptureError| os_error(error) == Some(libc::EPERM);
        match capabilities::without(|| self.grace.wait()).map_err(CaptureError::Capabilities)? {
            Ok(()) => Ok(CapabilitySet::empty()),
            Err(error) if refused(&error) => Ok(CapabilitySet::BPF),
            Err(error) => Err(error),
        }
    }

    /// Occupancy of the fullest partition in the current epoch, 0 to 1. It is read from shared memory, without a system
    /// call.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        self.largest(offset_of!(Head, entries)) as f64 / f64::from(self.size.shape.entries())
    }

    /// The largest of the numbers at `offset` in the heads of the current epoch.
    fn largest(&self, offset: usize) -> u64 {
        self.partitions(self.epoch).map(|partition| self.heads.load_u64(partition, offset)).max().unwrap_or(0)
    }

    /// The partitions of an epoch, in the order of CPUs.
    pub(super) fn partitions(&self, epoch: u32) -> impl Iterator<Item = usize> + use<> {
        (0..self.size.cpus).map(move |cpu| (EPOCHS * cpu + epoch) as usize)
    }

    /// Whether the table should be drained before the interval ends. The reasons: it has counts from before this agent,
    /// a partition is so full that waiting would risk overflow or delay a flood of short flows, a bucket had no room for
    /// another entry of a flow, or a slot has ended, after which each flow takes another entry.
    #[must_use]
    pub(crate) fn is_due(&self) -> bool {
        self.inherited > 0
            || self.is_filling()
            || self.largest(offset_of!(Head, boundaries_lost)) > 0
            || self.slot_ended()
    }

    /// Whether a partition should be drained because of its entries.
    fn is_filling(&self) -> bool {
        let age = Duration::from_nanos(monotonic_ns().saturating_sub(self.began.ns()));
        self.partitions(self.epoch).any(|partition| {
            let load = |offset| self.heads.load_u64(partition, offset);
            let packets = load(offset_of!(Head, received) + offset_of!(Count, packets));
            is_filling(load(offset_of!(Head, entries)), packets, self.size.shape, age)
        })
    }

    /// Whether a slot has ended. Short slots do not cause a drain, because a drain waits some milliseconds for the
    /// programs.
    fn slot_ended(&self) -> bool {
        let boundaries = self.constants.boundaries;
        boundaries.slot() >= SHORTEST_EPOCH && !boundaries.in_one_slot(self.began, Stamp::of_ns(monotonic_ns()))
    }

    pub(super) fn head(&self, partition: usize) -> &Head {
        // SAFETY: called for partitions of an epoch that is over, so no program writes there.
        unsafe { &self.heads.slice(partition, 1)[0] }
    }

    /// Clears the partitions of an epoch that is over and committed. The programs use them again after the next flip.
    pub(super) fn clear(&mut self, epoch: u32) {
        let buckets = self.size.shape.buckets as usize;
        for partition in self.partitions(epoch) {
            // Entries are initialized when they are taken, so only tags and counters have to be cleared.
            let used = self.head(partition).entries > 0;
            // SAFETY: the epoch is over, so no program reads or writes there, and `&mut self` is exclusive.
            unsafe {
                if used {
                    self.buckets.fill_zero(partition * buckets, buckets);
                    // The head shows whether there are tags to clear, also to the next agent if this one is killed. So
                    // it is cleared last.
                    fence(Ordering::SeqCst);
                }
                self.heads.fill_zero(partition, 1);
            }
        }
        // SAFETY: as above.
        unsafe { self.strays.fill_zero(epoch as usize, 1) };
        self.ledger.set_cleared();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_flows_are_drained_earlier_than_busy_ones() {
        let shape = Shape::for_capacity(131_072);
        for (entries, packets, age_ms, expected) in [
            (0, 0, 900, false),
            (8_000, 8_000, 900, false),
            (9_000, 9_000, 150, true),
            (9_000, 17_999, 150, true),
            (9_000, 18_000, 150, false),
            // Flows that are busy, as will be seen.
            (9_000, 9_000, 10, false),
            // A flow per entry, at the full speed of an interface: the interval ends first.
            (65_536, 1_000_000, 900, false),
            (80_000, 80_000, 10, true),
            (80_000, 1_000_000, 900, true),
        ] {
            let found = is_filling(entries, packets, shape, Duration::from_millis(age_ms));
            assert_eq!(found, expected, "{entries} entries, {packets} packets, {age_ms} ms");
        }
    }
}
