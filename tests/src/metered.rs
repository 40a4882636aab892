//! Meters an interface of the laboratory with the real kernel programs, and checks their packet accounting.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_common::counts::Counted;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, Head};
use flowml_user::capture::attach::{Attachment, Mode, Wanted, attach};
use flowml_user::capture::interface::Interfaces;
use flowml_user::capture::kernel::KernelTable;

use crate::lab::{Interface, wait_until};
use crate::traffic::raw::Sent;

/// Longest time from sending frames until they have arrived.
pub const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);

/// Attaches the table's programs to the incoming side of an interface, until the returned value is dropped.
pub fn attach_ingress(table: &mut KernelTable, interface: &Interface, mode: Mode) -> Result<Attachment> {
    interface.host.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("starting tokio")?;
        let found = runtime.block_on(async { Interfaces::read().await?.named(&interface.name) })?;
        attach(&mut table.programs, found, Wanted::Only(mode), false).context("attaching the programs")
    })?
}

/// The packet accounting of a table over all its epochs so far.
pub struct Account {
    table: KernelTable,
    total: Head,
    in_flows: Count,
    drains: u64,
}

impl Account {
    /// Starts with a table that has counted nothing yet.
    pub fn new(table: KernelTable) -> Self {
        Self { table, total: bytemuck::Zeroable::zeroed(), in_flows: Count::default(), drains: 0 }
    }

    /// The table.
    pub const fn table(&mut self) -> &mut KernelTable {
        &mut self.table
    }

    /// The drained counts so far, without the flows.
    pub const fn total(&self) -> &Head {
        &self.total
    }

    /// Packets and bytes of the flows that have been drained so far.
    pub const fn in_flows(&self) -> Count {
        self.in_flows
    }

    /// The number of drained epochs.
    pub const fn drains(&self) -> u64 {
        self.drains
    }

    /// Packets and bytes skipped for a reason so far.
    pub const fn skipped(&self, reason: Skipped) -> Count {
        self.total.skipped[reason as usize]
    }

    /// Drains one epoch, whose packet accounting must be consistent. Returns the number of its packets.
    pub fn drain(&mut self, mut each: impl FnMut(Counted<'_>)) -> Result<u64> {
        let capacity = u64::from(self.table.size().shape.entries()) * u64::from(self.table.size().cpus);
        let drained = self.table.drain()?;
        let head = drained.head_total();
        let (mut in_flows, mut flows) = (Count::default(), 0);
        for flow in drained.flows() {
            in_flows.add(flow.counts.packets(), flow.counts.frame_bytes());
            flows += 1;
            each(flow);
        }
        drained.commit(in_flows);
        check_epoch(&head, in_flows).with_context(|| format!("epoch {}: {head:?}", self.drains))?;
        ensure!(
            head.entries == flows && flows <= capacity,
            "{flows} flows, {} entries, room for {capacity}",
            head.entries
        );
        self.total.merge(&head);
        self.in_flows.add(in_flows.packets, in_flows.bytes);
        self.drains += 1;
        Ok(head.received.packets)
    }

    /// Drains every `pause` while `work` runs on another thread.
    pub fn drain_during<T: Send>(
        &mut self,
        pause: Duration,
        work: impl FnOnce() -> Result<T> + Send,
        mut each: impl FnMut(Counted<'_>),
    ) -> Result<T> {
        thread::scope(|scope| {
            let working = scope.spawn(work);
            while !working.is_finished() {
                self.drain(&mut each)?;
                thread::sleep(pause);
            }
            working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Drains until everything that was sent has arrived. Fails if more arrives, or if a byte is missing.
    pub fn settle(&mut self, sent: Sent, mut each: impl FnMut(Counted<'_>)) -> Result<()> {
        let arrived = wait_until(ARRIVAL_LIMIT, || {
            self.drain(&mut each)?;
            Ok(self.total.received.packets >= sent.packets)
        });
        arrived.with_context(|| format!("{sent:?}, but received {:?}", self.total.received))?;
        for _ in 0..2 {
            let more = self.drain(&mut each)?;
            ensure!(more == 0, "{more} packets more than the {} sent", sent.packets);
        }
        let expected = Count { packets: sent.packets, bytes: sent.bytes };
        ensure!(self.total.received == expected, "received {:?} of {expected:?}", self.total.received);
        check_epoch(&self.total, self.in_flows)
    }
}

/// Checks conservation: received = in flows + skipped, in packets and bytes, and overflow is known by protocol.
fn check_epoch(head: &Head, in_flows: Count) -> Result<()> {
    let skipped = sum(&head.skipped);
    let accounted = sum(&[in_flows, skipped]);
    ensure!(head.received == accounted, "received {:?}, in flows {in_flows:?}, skipped {skipped:?}", head.received);
    let (full, overflow) = (head.skipped[Skipped::TableFull as usize], sum(&head.overflow));
    ensure!(full == overflow, "{full:?} found the table full, {overflow:?} by protocol");
    Ok(())
}

fn sum(counts: &[Count]) -> Count {
    counts.iter().fold(Count::default(), |mut sum, count| {
        sum.add(count.packets, count.bytes);
        sum
    })
}
