//! The second stage of a live run, on a thread of its own: what was drained becomes sessions, windows, scores and rows.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::sync::mpsc::UnboundedSender;

use super::drain::Returns;
use super::kept::KeptModel;
use super::live::Message;
use super::repeats::Repeats;
use super::{Finished, Pipeline};
use crate::process::queue::Queue;
use crate::process::service::Service;
use crate::record::Clock;

/// Reports that the run is to end: by a call, or when it is dropped, because its stage has ended.
pub(super) struct Over(UnboundedSender<()>);

impl Over {
    pub(super) fn new(to: &UnboundedSender<()>) -> Self {
        Self(to.clone())
    }

    /// Where nobody listens any more, the run ends already.
    fn tell(&self) {
        let _ = self.0.send(());
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.tell();
    }
}

/// How the run stood at the end of the last interval, in one line.
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

/// What the thread of the flows has.
pub(super) struct Flows {
    pub(super) pipeline: Pipeline,
    pub(super) kept: KeptModel,
    pub(super) service: Arc<Service>,
    pub(super) returns: Returns,
    pub(super) status: Arc<Status>,
    pub(super) repeats: Repeats,
    /// The end of an interval that is to end with a later one, ns of the capture's clock.
    pub(super) unended: Option<u64>,
}

/// The thread, which ends with the backlog.
pub(super) struct Running(JoinHandle<(Finished, KeptModel)>);

impl Running {
    /// Waits for the end of the backlog, and for the summary.
    pub(super) fn join(self) -> (Finished, KeptModel) {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Flows {
    /// Begins to process the backlog.
    pub(super) fn begin(mut self, backlog: Arc<Queue<Message>>, over: Over) -> Result<Running> {
        let thread = thread::Builder::new().name("flows".to_owned()).spawn(move || {
            let mut last = Clock::default();
            while let Some(message) = backlog.next() {
                self.process(message, backlog.room(), &over, &mut last);
            }
            if let Some(at_ns) = self.unended {
                let _reader_gone = self.pipeline.end_interval(at_ns, last);
            }
            self.kept.finish(&mut self.pipeline);
            (self.pipeline.finish(last), self.kept)
        });
        thread.map(Running).context("cannot start the thread that processes flows")
    }

    fn process(&mut self, message: Message, room: usize, over: &Over, last: &mut Clock) {
        let pipeline = &mut self.pipeline;
        match message {
            Message::Drained { copied, took, late, clock } => {
                pipeline.absorb(&copied.head, copied.occupancy, copied.flows());
                pipeline.drained(took, late);
                let at_ns = copied.time_ns;
                // The drain may have ended, and then nobody fills it again.
                let _ = self.returns.send(*copied);
                *last = clock;
                if late.is_some() && pipeline.sinks().closing().merges_intervals() {
                    self.unended = Some(at_ns);
                } else if late.is_some() {
                    if pipeline.end_interval(at_ns, clock).is_break() {
                        over.tell();
                    }
                    self.kept.look(pipeline);
                    self.status.set(pipeline.status());
                }
            }
            Message::Held => {
                let text = format!(
                    "flows come faster than they are processed: {} MiB of them wait ('--memory-max'), and the flow table is \
                     emptied when there is room again; packets of flows that find it full are counted as table_full",
                    room >> 20
                );
                self.repeats.report([text], Instant::now()).iter().for_each(|text| pipeline.warn(text));
            }
            Message::Warning(text) => pipeline.warn(&text),
            Message::Event(event) => {
                if pipeline.sinks().event(&event).is_break() {
                    over.tell();
                }
            }
            Message::Model(due) => self.kept.meet(due, pipeline, &self.service),
            Message::LeaveScreen => pipeline.sinks().leave_screen(),
        }
    }
}
