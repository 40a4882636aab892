//! The first stage of a live run, on a thread of its own: it empties the flow table, and never waits for another stage.
//!
//! What it copies goes into a backlog that is bounded in bytes. Where there is no room the epoch goes on, up to the longest
//! that it may last: the table fills, and packets of further flows are counted as `table_full`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flowml_common::content::Piece;
use flowml_common::counts::{FlowEntry, FlowRarities};

use super::live::{Message, clock};
use super::stages::Over;
use crate::capture::copied::Copied;
use crate::capture::kernel::FlowTable;
use crate::process::queue::Queue;

/// How often the agent looks how full the table is: a look at shared memory. At half a million new flows a second on
/// one CPU the default table takes 30 ms from half full to full.
const LOOK: Duration = Duration::from_millis(10);

/// The longest epoch, however long an interval is, and whether there is room for what it counted or not: the kernel counts
/// packets of an epoch in 32 bits, which would take 429 million packets a second to fill.
const LONGEST_EPOCH: Duration = Duration::from_secs(10);

/// Copies that are kept to be filled again.
const SPARE: usize = 2;

/// The drain, as seen by others.
pub(super) struct Drain {
    end: Sender<()>,
    thread: JoinHandle<Result<FlowTable>>,
}

/// What the thread has.
struct Draining {
    table: FlowTable,
    every: Duration,
    backlog: Arc<Queue<Message>>,
    /// Copies that were processed.
    returned: Receiver<Copied>,
    spare: Vec<Copied>,
    /// Whether the backlog had no room at the last attempt.
    held: bool,
}

/// Where copies go that were processed, so that they are used again.
pub(super) type Returns = Sender<Copied>;

impl Drain {
    /// Begins to empty the table into the backlog: at each interval, and before when the table is half full. `over` is
    /// dropped at the end.
    pub(super) fn begin(
        table: FlowTable,
        every: Duration,
        backlog: Arc<Queue<Message>>,
        over: Over,
    ) -> Result<(Self, Returns)> {
        let ((end, ends), (returns, returned)) = (channel(), channel());
        let mut draining = Draining { table, every, backlog, returned, spare: Vec::new(), held: false };
        let thread = thread::Builder::new().name("drain".to_owned()).spawn(move || {
            let done = draining.work(&ends);
            draining.backlog.close();
            drop(over);
            done.map(|()| draining.table)
        });
        Ok((Self { end, thread: thread.context("cannot start the thread that empties the flow table")? }, returns))
    }

    /// Takes what is still in the table, and ends. Returns the table.
    pub(super) fn end(self) -> Result<FlowTable> {
        drop(self.end);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Draining {
    /// Empties the table until `end` is dropped, and then once more.
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
                    // Ticks that were missed are not made up for.
                    tick += self.every * u32::try_from(late.as_nanos() / self.every.as_nanos() + 1).unwrap_or(1);
                }
            }
            // Where there is no room, the tick stays due.
            let next = if tick <= now { now + LOOK } else { tick.min(now + LOOK) };
            let next = next.saturating_duration_since(Instant::now());
            if matches!(end.recv_timeout(next), Err(RecvTimeoutError::Disconnected)) {
                break;
            }
        }
        self.take(Some(Duration::ZERO))
    }

    /// Whether the backlog has room for what the table has counted. That it has none is reported when it begins.
    fn has_room(&mut self) -> bool {
        let size = self.table.size();
        let pieces = size.payload.map_or(0, |limit| limit.pieces_of_entry() * Piece::BYTES) as usize;
        let each = size_of::<FlowEntry>() + size_of::<FlowRarities>() + pieces;
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
        // Nobody has the copy before this: should this process be killed, the next one takes the epoch, or counts it as taken.
        drained.commit(copied.in_flows);
        copied.drains = self.table.drains();
        let took = begun.elapsed();
        let bytes = copied.bytes();
        self.backlog.put(Message::Drained { copied: Box::new(copied), took, late, clock: clock() }, bytes);
        Ok(())
    }
}
