//! The thread of an offline run that processes drained flows while the next packets are read.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flowml_common::content::PayloadLimit;

use super::epochs::Passed;
use super::{Finished, Pipeline};
use crate::capture::copied::Copied;
use crate::process::queue::Queue;
use crate::record::Clock;

/// The steps that wait take at most this much memory, bytes. A single batch may be larger.
const ROOM: usize = 4 << 20;

/// A batch of steps is handed over when it takes this much memory, bytes. Waking the thread costs as much as counting some hundred
/// packets, and most epochs of a capture are small.
const FULL_BATCH: usize = 256 << 10;

/// A batch is also handed over when an epoch ends and the batch is this old, because the next packet of a pipe may take long.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// Copies that are kept to be filled again.
const SPARE: usize = 4;

/// One step of the pipeline. Steps are done in the order in which they are put.
pub(super) enum Step {
    /// Processes the counts of an epoch.
    Absorb(Box<Copied>),
    /// Lets time pass.
    Pass(Passed),
    /// Sets what was added to the times of an interface, ns.
    Shift {
        interface: u32,
        shift_ns: i64,
    },
    Notice(String),
    Warning(String),
    /// Answers when something may end by itself, ns of the capture's clock.
    Due(Sender<Option<u64>>),
}

/// The thread and the steps that it has not been given yet.
pub(super) struct Processing {
    thread: JoinHandle<Finished>,
    queue: Arc<Queue<Vec<Step>>>,
    /// Whether the run is to end because standard output was closed.
    is_over: Arc<AtomicBool>,
    returned: Receiver<Copied>,
    spare: Vec<Copied>,
    batch: Vec<Step>,
    bytes: usize,
    handed_over: Instant,
}

impl Processing {
    /// Starts the thread, which owns the pipeline until [`Self::finish`].
    pub(super) fn begin(mut pipeline: Pipeline) -> Result<Self> {
        let queue = Arc::new(Queue::new(ROOM));
        let is_over = Arc::new(AtomicBool::new(false));
        let (returns, returned) = channel();
        let (own_queue, own_over) = (Arc::clone(&queue), Arc::clone(&is_over));
        let thread = thread::Builder::new().name("flows".to_owned()).spawn(move || {
            // After a panic nobody is to wait for room.
            let _abandoned = own_queue.abandon_at_end();
            while let Some(batch) = own_queue.next() {
                for step in batch {
                    if process(&mut pipeline, step, &returns).is_break() {
                        own_over.store(true, Ordering::Relaxed);
                    }
                }
            }
            pipeline.finish(Clock::default())
        });
        let thread = thread.context("cannot start the thread that processes flows")?;
        let (spare, batch) = (Vec::new(), Vec::new());
        Ok(Self { thread, queue, is_over, returned, spare, batch, bytes: 0, handed_over: Instant::now() })
    }

    /// A copy to be filled, of a table that keeps so much payload.
    pub(super) fn copy(&mut self, payload: Option<PayloadLimit>) -> Copied {
        self.spare.extend(self.returned.try_iter());
        self.spare.truncate(SPARE);
        self.spare.pop().unwrap_or_else(|| Copied::new(payload))
    }

    /// Puts a step behind the others. Breaks where the run is to end because standard output was closed.
    pub(super) fn put(&mut self, step: Step) -> ControlFlow<()> {
        let ends_epoch = matches!(step, Step::Pass(_));
        self.bytes += step.bytes();
        self.batch.push(step);
        if self.bytes >= FULL_BATCH || ends_epoch && self.handed_over.elapsed() >= LONGEST_WAIT {
            self.hand_over();
        }
        if self.is_over.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Gives the thread all steps. Waits for room.
    pub(super) fn hand_over(&mut self) {
        let (batch, bytes) = (std::mem::take(&mut self.batch), std::mem::take(&mut self.bytes));
        if !batch.is_empty() && self.queue.push(batch, bytes, || true).is_err() {
            // The thread has panicked, and so will `finish`.
            self.is_over.store(true, Ordering::Relaxed);
        }
        self.handed_over = Instant::now();
    }

    /// When something may end by itself, ns of the capture's clock. Waits until all steps are done.
    pub(super) fn next_due_ns(&mut self) -> Option<u64> {
        let (answer, due) = channel();
        self.batch.push(Step::Due(answer));
        self.hand_over();
        due.recv().ok().flatten()
    }

    /// Waits until all steps are done, and ends the pipeline.
    pub(super) fn finish(mut self) -> Finished {
        self.hand_over();
        self.queue.close();
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Step {
    fn bytes(&self) -> usize {
        let own = match self {
            Self::Absorb(copied) => copied.bytes(),
            Self::Notice(text) | Self::Warning(text) => text.len(),
            Self::Pass(_) | Self::Shift { .. } | Self::Due(_) => 0,
        };
        size_of::<Self>() + own
    }
}

fn process(pipeline: &mut Pipeline, step: Step, returns: &Sender<Copied>) -> ControlFlow<()> {
    match step {
        Step::Absorb(copied) => {
            pipeline.absorb(&copied.head, copied.occupancy, copied.flows());
            // The run may have ended, and then nobody fills it again.
            let _ = returns.send(*copied);
        }
        Step::Pass(Passed::End(at_ns)) => return pipeline.end_interval(at_ns, Clock::default()),
        Step::Pass(Passed::Begin(at_ns)) => pipeline.begin(at_ns, Clock::default()),
        Step::Pass(Passed::Silence { intervals, silence_ns }) => pipeline.pass(intervals, silence_ns),
        Step::Shift { interface, shift_ns } => pipeline.shift(interface, shift_ns),
        Step::Notice(text) => pipeline.notice(&text),
        Step::Warning(text) => pipeline.warn(&text),
        Step::Due(answer) => drop(answer.send(pipeline.next_due_ns())),
    }
    ControlFlow::Continue(())
}
