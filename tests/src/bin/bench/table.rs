//! The flow table as the agent has it: the same code loads, ends an epoch, reads and clears.

use anyhow::{Result, ensure};
use flowml_common::packet::Skipped;
use flowml_user::capture::kernel::{Drained, KernelTable};

use crate::programs;
use crate::total::Total;

/// Loads the object and these programs of it, with the room that so many flows have in use: the agent drains at half.
pub(crate) fn load(object: &[u8], flows: u32, programs: &[&str]) -> Result<KernelTable> {
    let mut table = KernelTable::load(object, Some(2 * flows))?;
    for name in programs {
        programs::load(table.ebpf(), name)?;
    }
    Ok(table)
}

/// Reads all that an epoch counted in flows.
pub(crate) fn read(drained: &Drained<'_>) -> Total {
    let mut total = Total::default();
    for entry in drained.entries() {
        total.add(&entry.key, &entry.stats);
    }
    total
}

/// Fails unless every packet is in its flow. With one seed in some dozens, a flow of a few 100,000 finds both its
/// buckets full: it is then in the overflow counters, and may be missing here.
pub(crate) fn verify(drained: &Drained<'_>, total: &Total, flows: u32, packets_each: u64) -> Result<()> {
    let head = drained.head_total();
    let overflow = head.skipped[Skipped::TableFull as usize].packets;
    ensure!(head.received.packets == total.packets + overflow, "{:?} received, {total:?} in flows", head.received);
    let missing = u32::try_from(overflow / packets_each)?;
    ensure!(missing <= flows / 10_000, "{missing} of {flows} flows found no room");
    total.expect("the flow table", flows - missing, packets_each, programs::frame().len())
}
