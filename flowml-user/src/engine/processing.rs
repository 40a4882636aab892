//! The thread of an offline run that processes drained flows while the next packets are read.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
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
    /// Returns the time of the next possible timeout, ns of the capture's clock.
    Due(Sender<Option<u64>>),
}

/// Does one step. Breaks where the run is to end because standard output was closed.
type Process = fn(&mut Pipeline, Step, &Sender<Copied>) -> ControlFlow<()>;

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
    pub(super) fn begin(pipeline: Pipeline) -> Result<Self> {
        Self::begin_with(pipeline, process)
    }

    /// The same, with this function for a step.
    fn begin_with(mut pipeline: Pipeline, process: Process) -> Result<Self> {
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
            // The thread has panicked. `finish` returns an error.
            self.is_over.store(true, Ordering::Relaxed);
        }
        self.handed_over = Instant::now();
    }

    /// The time of the next possible timeout, ns of the capture's clock. Waits until all steps are done.
    pub(super) fn next_due_ns(&mut self) -> Option<u64> {
        let (answer, due) = channel();
        self.batch.push(Step::Due(answer));
        self.hand_over();
        due.recv().ok().flatten()
    }

    /// Waits until all steps are done, and ends the pipeline.
    ///
    /// # Errors
    /// If the thread has panicked.
    pub(super) fn finish(mut self) -> Result<Finished> {
        self.hand_over();
        self.queue.close();
        self.thread.join().map_err(|_| {
            // The panic itself was reported when it occurred.
            anyhow!("the thread that processes flows has panicked: records and the summary are missing")
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{Pace, Sinks};
    use crate::features::FlowColumns;
    use crate::session::Timeouts;

    fn pipeline() -> Pipeline {
        let sinks = Sinks::open(&[], FlowColumns::Headers, Pace::Offline).expect("there are no outputs");
        Pipeline::new(Timeouts::default(), Vec::new(), None, sinks, 0, 0)
    }

    fn panics_at_a_warning(pipeline: &mut Pipeline, step: Step, returns: &Sender<Copied>) -> ControlFlow<()> {
        assert!(!matches!(step, Step::Warning(_)), "a panic on purpose");
        process(pipeline, step, returns)
    }

    fn warning() -> Step {
        Step::Warning("of a test".to_owned())
    }

    #[test]
    fn after_a_panic_nothing_waits_for_the_thread_and_the_run_ends_with_an_error() {
        let mut processing = Processing::begin_with(pipeline(), panics_at_a_warning).expect("a thread");
        assert!(processing.put(Step::Pass(Passed::Begin(5))).is_continue());
        processing.hand_over();
        let _ = processing.put(warning());
        assert_eq!(processing.next_due_ns(), None, "the answer would come after the panic");
        // More than there is room for: without the thread no room becomes free.
        let copies = 2 * ROOM / FULL_BATCH + 2;
        let broken = (0..copies).any(|_| {
            processing.bytes = FULL_BATCH;
            processing.put(Step::Pass(Passed::End(6))).is_break()
        });
        assert!(broken, "the run should end before all of its input is read");
        let error = processing.finish().err().expect("the summary is missing").to_string();
        assert!(error.contains("panicked"), "{error}");
    }

    #[test]
    fn a_panic_at_the_last_step_is_an_error() {
        let mut processing = Processing::begin_with(pipeline(), panics_at_a_warning).expect("a thread");
        let _ = processing.put(warning());
        assert!(processing.finish().is_err());
        let processing = Processing::begin(pipeline()).expect("a thread");
        assert!(processing.finish().expect("no panic").conserved);
    }
}
