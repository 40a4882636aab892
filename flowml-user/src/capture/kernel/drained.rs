//! A drain: flipping the epoch, reading its partitions, and handing them back.

use std::sync::atomic::{Ordering, fence};

use bytemuck::Zeroable;
use flowml_common::content::PayloadChunks;
use flowml_common::counts::Counted;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, Head, SLOTS};
use flowml_common::time::Stamp;

use super::super::error::CaptureError;
use super::super::handover::Step;
use super::super::vectors::flows;
use super::clock::monotonic_ns;
use super::table::FlowTable;

impl FlowTable {
    /// Ends the current epoch, and returns its counts. The programs continue in the other epoch. If an epoch has ended
    /// without a commit, its counts are returned.
    ///
    /// # Errors
    /// If the kernel refuses. Nothing is lost then.
    pub fn drain(&mut self) -> Result<Drained<'_>, CaptureError> {
        if self.ledger.step(self.epoch) == Some(Step::Counting) {
            let next = self.epoch ^ 1;
            // A program that reads the new number also sees the partitions of that epoch cleared.
            fence(Ordering::Release);
            self.set_epoch(next)?;
            self.epoch = next;
            self.began = Stamp::of_ns(monotonic_ns());
        }
        // After this no program writes to the old epoch.
        self.grace.wait()?;
        let inherited = self.inherited > 0;
        Ok(Drained { time_ns: monotonic_ns(), inherited, epoch: self.epoch ^ 1, table: self })
    }

    /// Sets the programs' variable.
    fn set_epoch(&mut self, epoch: u32) -> Result<(), CaptureError> {
        Ok(self.epoch_variable.set(0, epoch, 0)?)
    }
}

/// The counts of one epoch, until they are [committed](Self::commit). Without a commit the next drain returns them
/// again.
#[must_use]
pub struct Drained<'a> {
    /// Time of the epoch's end, in ns of CLOCK_MONOTONIC, the clock of the packets' times.
    pub time_ns: u64,
    /// Whether the epoch started before this agent did.
    pub inherited: bool,
    table: &'a mut FlowTable,
    epoch: u32,
}

impl<'a> Drained<'a> {
    fn partitions(&self) -> impl Iterator<Item = usize> + use<> {
        self.table.partitions(self.epoch)
    }

    /// The packets on CPUs without a partition.
    fn stray(&self) -> Count {
        // SAFETY: the epoch is over (`drain`), so no program writes there.
        unsafe { self.table.strays.slice(self.epoch as usize, 1)[0] }
    }

    /// The counters of all CPUs together.
    #[must_use]
    pub fn head_total(&self) -> Head {
        let mut total = Head::zeroed();
        for partition in self.partitions() {
            total.merge(self.table.head(partition));
        }
        let Count { packets, bytes } = self.stray();
        total.received.add(packets, bytes);
        total.skipped[Skipped::NoPartition as usize].add(packets, bytes);
        total
    }

    /// The flows, in the order of CPUs. A flow that was on two CPUs is returned twice.
    pub fn flows(&self) -> impl Iterator<Item = Counted<'_>> {
        let table = &*self.table;
        let buckets = table.size.shape.buckets as usize;
        let entries = buckets * SLOTS;
        self.partitions().filter(|partition| table.head(*partition).entries > 0).flat_map(move |partition| {
            // SAFETY: as in `stray`.
            unsafe {
                let chunks = table.size.payload.map(|limit| {
                    let each = entries * limit.chunks_of_entry() as usize;
                    PayloadChunks::new(limit, table.chunks.slice(partition * each, each))
                });
                let outers = table.size.tunnels.map(|_| table.outers.slice(partition * entries, entries));
                flows(
                    table.buckets.slice(partition * buckets, buckets),
                    table.entries.slice(partition * entries, entries),
                    table.cold.slice(partition * entries, entries),
                    chunks,
                    outers,
                )
            }
        })
    }

    /// Adds the epoch to the packet accounting, with `in_flows` in its flows. From here on the caller has all of its
    /// counts, and no later agent gets them. No part of them may have been passed on before.
    pub fn commit(self, in_flows: Count) -> Committed<'a> {
        let head = self.head_total();
        let Self { table, epoch, .. } = self;
        table.ledger.commit(&head, in_flows);
        table.inherited = table.inherited.saturating_sub(1);
        Committed { table, epoch }
    }
}

/// An epoch that is in the packet accounting. Dropping the value clears its partitions.
pub struct Committed<'a> {
    table: &'a mut FlowTable,
    epoch: u32,
}

impl Drop for Committed<'_> {
    fn drop(&mut self) {
        self.table.clear(self.epoch);
    }
}
