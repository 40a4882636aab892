//! The flow table with the agent's own code: it loads, ends an epoch, reads and clears.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use flowml_common::flow::FlowKey;
use flowml_common::time::Boundaries;
use flowml_user::capture::kernel::{Drained, KernelTable};

use crate::programs;
use crate::total::Total;

/// The agent drains the table at each boundary of the timeouts, so a flow needs only one entry. Here no boundary
/// passes, and no flow is idle for this long.
const NEVER: Duration = Duration::from_secs(3600);

/// Loads the object and these programs of it. The table has twice the room that the flows need, because the agent
/// drains early.
pub(crate) fn load(object: &[u8], flows: u32, programs: &[&str]) -> Result<KernelTable> {
    let mut table = KernelTable::load(object, Some(2 * flows), None, None, Boundaries::new(NEVER, NEVER), None)?;
    for name in programs {
        programs::load(table.ebpf(), name)?;
    }
    Ok(table)
}

/// Reads everything that an epoch counted in flows.
pub(crate) fn read(drained: &Drained<'_>) -> Total {
    let mut total = Total::default();
    drained.flows().for_each(|flow| total.add(flow));
    total
}

/// Fails unless every packet is in its flow. A table that is half full has rejected no flow. A flow has a second entry
/// if a boundary passes nevertheless.
pub(crate) fn verify(drained: &Drained<'_>, total: &Total, flows: u32, packets_each: u64) -> Result<()> {
    let head = drained.head_total();
    ensure!(head.received.packets == total.packets, "{:?} received, {total:?} in flows", head.received);
    let mut packets: HashMap<FlowKey, u64> = HashMap::new();
    drained.flows().for_each(|flow| *packets.entry(*flow.key).or_default() += flow.counts.packets());
    let range = packets.values().min().copied().zip(packets.values().max().copied());
    total.joined(packets.len() as u64, range).expect("the flow table", flows, packets_each, programs::frame().len())
}
