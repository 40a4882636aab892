//! The flow table as the agent has it: the same code loads, ends an epoch, reads and clears.

use anyhow::{Result, ensure};
use flowml_common::time::Boundaries;
use flowml_user::capture::kernel::{Drained, KernelTable};

use crate::programs;
use crate::total::Total;

/// Loads the object and these programs of it, with the room that so many flows have in use: the agent drains at half.
pub(crate) fn load(object: &[u8], flows: u32, programs: &[&str]) -> Result<KernelTable> {
    let mut table = KernelTable::load(object, Some(2 * flows), None, Boundaries::default())?;
    for name in programs {
        programs::load(table.ebpf(), name)?;
    }
    Ok(table)
}

/// Reads all that an epoch counted in flows.
pub(crate) fn read(drained: &Drained<'_>) -> Total {
    let mut total = Total::default();
    drained.flows().for_each(|flow| total.add(flow));
    total
}

/// Fails unless every packet is in its flow: a table that is half full has turned none away.
pub(crate) fn verify(drained: &Drained<'_>, total: &Total, flows: u32, packets_each: u64) -> Result<()> {
    let head = drained.head_total();
    ensure!(head.received.packets == total.packets, "{:?} received, {total:?} in flows", head.received);
    total.expect("the flow table", flows, packets_each, programs::frame().len())
}
