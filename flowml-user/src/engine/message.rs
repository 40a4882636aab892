//! The messages between the threads of a live run.

use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::kept::Due;
use crate::capture::copied::Copied;
use crate::capture::kernel::{monotonic_ns, realtime_ns};
use crate::export::InterfaceReport;
use crate::record::Clock;

/// A message in the backlog, processed in order.
pub(super) enum Message {
    /// A drained epoch, and the duration of the drain. If an interval ends with it, also the lateness of its end.
    Drained { copied: Box<Copied>, took: Duration, late: Option<Duration>, clock: Clock },
    /// An epoch could not be drained because the backlog was full.
    Held,
    /// A notice.
    Notice(String),
    /// A warning.
    Warning(String),
    /// The metered interfaces have changed.
    Interfaces(Vec<InterfaceReport>),
    /// The observers are woken.
    Wake,
    /// A task with the model file is due.
    Model(Due),
    /// The run is about to end.
    Ending,
}

/// Returns processed buffers to the drain for reuse.
pub(super) type Returns = Sender<Copied>;

/// Requests the end of the run: by a call, or when dropped because its stage has ended.
pub(super) struct EndRequest(UnboundedSender<()>);

impl EndRequest {
    pub(super) fn new(to: &UnboundedSender<()>) -> Self {
        Self(to.clone())
    }

    /// If the receiver was dropped, the run is already ending.
    pub(super) fn request(&self) {
        let _ = self.0.send(());
    }
}

impl Drop for EndRequest {
    fn drop(&mut self) {
        self.request();
    }
}

/// The clock of packet times, as of now.
pub(super) fn clock() -> Clock {
    Clock::new(monotonic_ns(), realtime_ns())
}
