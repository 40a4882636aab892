//! The first stage of a live run, on its own thread: it drains the flow table, and never waits for another stage.
//!
//! The drained epochs go into a backlog with limited memory. If the backlog is full, the epoch continues, up to a
//! maximum length. The table then fills, and packets of further flows are counted as `table_full`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flowml_common::content::PayloadChunk;
use flowml_common::counts::{ColdCounters, FlowEntry};
use flowml_common::tunnel::Outer;

use super::message::{EndRequest, Message, Returns, clock};
use crate::capture::copied::Copied;
use crate::capture::kernel::FlowTable;
use crate::process::queue::Queue;

/// Interval between checks of the table's fill level, which read shared memory. With half a million new flows per
/// second on one CPU, the default table takes 29 ms from the occupancy at which it is drained to the occupancy at which
/// flows find no room.
const LOOK: Duration = Duration::from_millis(10);

/// Maximum length of an epoch, even with a longer interval or a full backlog. The kernel counts the packets of an epoch
/// in 32 bits; 429 million packets per second would fill that.
const LONGEST_EPOCH: Duration = Duration::from_secs(10);

/// Number of buffers that are kept for reuse.
const SPARE: usize = 2;

/// The handle of the drain thread.
pub(super) struct Drain {
    end: Sender<()>,
    thread: JoinHandle<Result<FlowTable>>,
}

/// The state of the drain thread.
struct Draining {
    table: FlowTable,
    every: Duration,
    backlog: Arc<Queue<Message>>,
    /// Buffers that were processed.
    returned: Receiver<Copied>,
    spare: Vec<Copied>,
    /// Whether the backlog was full at the last attempt.
    held: bool,
}

impl Drain {
    /// Starts to drain the table into the backlog: at each interval, and earlier if the table is due
    /// ([`FlowTable::is_due`]). `over` is dropped at the end.
    pub(super) fn begin(
        table: FlowTable,
        every: Duration,
        backlog: Arc<Queue<Message>>,
        over: EndRequest,
    ) -> Result<(Self, Returns)> {
        let ((end, ends), (returns, returned)) = (channel(), channel());
        let mut draining = Draining { table, every, backlog, returned, spare: Vec::new(), held: false };
        let thread = thread::Builder::new().name("drain".to_owned()).spawn(move || {
            // Also after a panic: `over` ends the run, and the thread of the flows gets no more epochs.
            let _over = over;
            let backlog = Arc::clone(&draining.backlog);
            let _closed = backlog.close_at_end();
            draining.work(&ends).map(|()| draining.table)
        });
        Ok((Self { end, thread: thread.context("cannot start the thread that empties the flow table")? }, returns))
    }

    /// Drains the table once more and ends the thread. Returns the table.
    pub(super) fn end(self) -> Result<FlowTable> {
        drop(self.end);
        // A panic itself was reported when it occurred.
        self.thread.join().unwrap_or_else(|_| bail!("the thread that empties the flow table has panicked"))
    }
}

impl Draining {
    /// Drains the table until `end` is dropped, and then once more.
    fn work(&mut self, end: &Receiver<()>) -> Result<()> {
        let mut tick = Instant::now() + self.every;
        let mut longest = Instant::now() + LONGEST_EPOCH;
        loop {
            let now = Instant::now();
            let late = now.checked_duration_since(tick);
            let is_due = late.is_some() || now >= longest || self.table.is_due();
            if is_due && (now >= longest || self.has_room()) {
                self.take(late)?;
                longest = now + LONGEST_EPOCH;
                if let Some(late) = late {
                    // Missed ticks are skipped.
                    tick += self.every * u32::try_from(late.as_nanos() / self.every.as_nanos() + 1).unwrap_or(1);
                }
            }
            // If the backlog is full, the tick stays due.
            let next = if tick <= now { now + LOOK } else { tick.min(now + LOOK) };
            let next = next.saturating_duration_since(Instant::now());
            if matches!(end.recv_timeout(next), Err(RecvTimeoutError::Disconnected)) {
                break;
            }
        }
        self.take(Some(Duration::ZERO))
    }

    /// Whether the backlog has room for the counts in the table. The start of a period without room is reported.
    fn has_room(&mut self) -> bool {
        let size = self.table.size();
        let chunks = size.payload.map_or(0, |limit| limit.chunks_of_entry() * PayloadChunk::BYTES) as usize;
        let tunnel = size.tunnels.map_or(0, |_| size_of::<Outer>());
        let each = size_of::<FlowEntry>() + size_of::<ColdCounters>() + chunks + tunnel;
        let most = (self.table.occupancy() * f64::from(size.shape.entries()) * f64::from(size.cpus)) as usize * each;
        let has_room = self.backlog.has_room(most);
        if !has_room && !self.held {
            self.backlog.force(Message::Held);
        }
        self.held = !has_room;
        has_room
    }

    /// Moves one epoch from the table to the backlog.
    fn take(&mut self, late: Option<Duration>) -> Result<()> {
        self.spare.extend(self.returned.try_iter());
        self.spare.truncate(SPARE);
        let begun = Instant::now();
        let mut copied = self.spare.pop().unwrap_or_else(|| Copied::new(self.table.size().payload));
        copied.occupancy = self.table.occupancy();
        let drained = self.table.drain().context("the flow table could not be drained")?;
        (copied.time_ns, copied.inherited) = (drained.time_ns, drained.inherited);
        copied.head = drained.head_total();
        copied.fill(drained.flows());
        // Up to here no other thread has the copy. If this process is killed, the next agent reads the epoch or counts
        // it as read.
        drained.commit(copied.in_flows);
        copied.drains = self.table.drains();
        let took = begun.elapsed();
        let bytes = copied.bytes();
        self.backlog.put(Message::Drained { copied: Box::new(copied), took, late, clock: clock() }, bytes);
        Ok(())
    }
}
