//! The second stage of a live run, on its own thread: makes sessions, windows, scores and rows of drained epochs.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kept::{Due, KeptModel};
use super::lasting::Lasting;
use super::message::{EndRequest, Message, Returns};
use super::overload::{Change, Overload, Pressure, Speed};
use super::state::KeptState;
use super::{Finished, Pipeline};
use crate::capture::copied::Copied;
use crate::capture::kernel::monotonic_ns;
use crate::export::{Level, STEPS};
use crate::process::memory;
use crate::process::priority::Nice;
use crate::process::queue::Queue;
use crate::process::service::Service;
use crate::record::Clock;

/// At the end of a run the queued epochs are not fully processed if they take more memory than this, bytes.
const LAST_BACKLOG: usize = 16 << 20;

/// Freed memory is returned to the system if at least this number of sessions was open, fewer than half of them still are,
/// and there is no overload. It may take a tenth of a second and more, in which other threads wait for the allocator.
const MANY_SESSIONS: usize = 16_384;

/// The state of the run after the last interval, in one line.
pub(super) struct Status(Mutex<String>);

impl Status {
    pub(super) const fn new(text: String) -> Self {
        Self(Mutex::new(text))
    }

    pub(super) fn now(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// The state of the flow thread.
pub(super) struct Flows {
    pub(super) pipeline: Pipeline,
    pub(super) kept: KeptModel,
    /// The file in which the next run finds open sessions.
    pub(super) state: Option<KeptState>,
    pub(super) service: Arc<Service>,
    pub(super) returns: Returns,
    pub(super) status: Arc<Status>,
    pub(super) overload: Overload,
    pub(super) speed: Speed,
    /// Whether the backlog was full recently.
    pub(super) held: Lasting,
    /// The end of an interval that was merged with a later one, ns of the capture's clock.
    pub(super) unended: Option<u64>,
    /// Maximum number of open sessions since freed memory was last returned to the system.
    pub(super) most_open: usize,
}

/// The running thread, which ends when the backlog is closed.
pub(super) struct Running(JoinHandle<(Finished, KeptModel)>);

impl Running {
    /// Waits for the end of the backlog, and for the summary.
    pub(super) fn join(self) -> (Finished, KeptModel) {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Flows {
    /// Starts to process the backlog, on a thread of this priority.
    pub(super) fn begin(mut self, backlog: Arc<Queue<Message>>, over: EndRequest, nice: Nice) -> Result<Running> {
        let thread = thread::Builder::new().name("flows".to_owned()).spawn(move || {
            nice.apply();
            let mut last = Clock::default();
            while let Some(message) = backlog.next() {
                self.process(message, &backlog, &over, &mut last);
            }
            if let Some(at_ns) = self.unended {
                let _reader_gone = self.pipeline.end_interval(at_ns, last);
            }
            self.kept.finish(&mut self.pipeline);
            let finished = match &mut self.state {
                Some(state) => self.pipeline.leave(state, last),
                None => self.pipeline.finish(last),
            };
            (finished, self.kept)
        });
        thread.map(Running).context("cannot start the thread that processes flows")
    }

    /// Measures the delay of an epoch, and sets the level of overload accordingly.
    fn weigh(&mut self, epoch: &Copied, backlog: &Queue<Message>) {
        let now_ns = monotonic_ns();
        let age = Duration::from_nanos(now_ns.saturating_sub(epoch.time_ns));
        self.speed.comes(epoch.bytes(), epoch.time_ns);
        let behind = age.max(self.speed.delay(epoch.bytes() + backlog.bytes()));
        let pressure = Pressure { behind, backlog: backlog.fill(), outputs: self.pipeline.sinks().pressure() };
        let before = self.overload.level();
        let change = self.overload.observe(pressure, Duration::from_nanos(now_ns));
        let level = self.overload.level();
        match change {
            Some(Change::Raised) => {
                let means: Vec<_> = STEPS
                    .iter()
                    .filter(|step| before < step.level && step.level <= level)
                    .map(|step| step.means)
                    .collect();
                self.pipeline.warn(&format!("overload ({pressure}): from now on {}", means.join(", ")));
            }
            Some(Change::Lowered) => match level.step() {
                Some(step) => self.pipeline.notice(&format!("less overload: {}", step.means)),
                None => self.pipeline.notice("overload is over: nothing is left out"),
            },
            None => {}
        }
        let is_last = self.pipeline.sinks().closing().merges_intervals() && backlog.bytes() > LAST_BACKLOG;
        self.pipeline.leave_out(if is_last { Level::Sessions } else { level });
    }

    fn process(&mut self, message: Message, backlog: &Queue<Message>, over: &EndRequest, last: &mut Clock) {
        if let Message::Drained { copied, .. } = &message {
            self.weigh(copied, backlog);
        }
        let pipeline = &mut self.pipeline;
        if self.held.is_over(monotonic_ns()).is_some() {
            pipeline.notice("the flow table is drained in time again");
        }
        match message {
            Message::Drained { copied, took, late, clock } => {
                pipeline.set_watches(!copied.inherited);
                let begun = Instant::now();
                pipeline.absorb(&copied.head, copied.occupancy, copied.flows());
                self.speed.processed(copied.bytes(), begun.elapsed());
                pipeline.drained(took, late);
                let at_ns = copied.time_ns;
                if let Some(state) = &mut self.state {
                    state.drained(copied.drains);
                }
                // The drain may have ended, and then the buffer is not reused.
                let _ = self.returns.send(*copied);
                *last = clock;
                let (ends_interval, merges) = (late.is_some(), pipeline.sinks().closing().merges_intervals());
                if ends_interval && merges {
                    self.unended = Some(at_ns);
                } else if !ends_interval && !merges {
                    pipeline.report_early(at_ns, clock);
                } else if ends_interval {
                    if pipeline.end_interval(at_ns, clock).is_break() {
                        over.request();
                    }
                    self.kept.look(pipeline);
                    if let Some(state) = &mut self.state {
                        state.look(pipeline);
                    }
                    self.status.set(pipeline.status());
                    let open = pipeline.open_sessions();
                    self.most_open = self.most_open.max(open);
                    let is_calm = self.overload.level() == Level::None;
                    if is_calm && self.most_open >= MANY_SESSIONS && open < self.most_open / 2 {
                        memory::give_back();
                        self.most_open = open;
                    }
                }
            }
            Message::Held => {
                if self.held.comes(1, monotonic_ns()) {
                    pipeline.warn(&format!(
                        "flows arrive faster than they are processed: {} MiB of them are queued ('--memory-max'), and the flow \
                         table is drained when there is room again",
                        backlog.room() >> 20
                    ));
                }
            }
            Message::Notice(text) => pipeline.notice(&text),
            Message::Warning(text) => pipeline.warn(&text),
            Message::Interfaces(interfaces) => pipeline.set_interfaces(interfaces),
            Message::Wake => {
                if pipeline.sinks().wake().is_break() {
                    over.request();
                }
            }
            Message::Model(due) => {
                if let (Due::Save, Some(state)) = (due, &mut self.state) {
                    state.save(pipeline);
                }
                self.kept.meet(due, pipeline, &self.service);
            }
            Message::Ending => pipeline.sinks().ending(),
        }
    }
}
