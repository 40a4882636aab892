//! Decides when the run stops waiting for its outputs at its end.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::closing::Closing;
use crate::capture::file::Signals;

/// The end of a run waits this long for outputs that still accept rows.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether the end of a run has begun. From then on, the run does not wait for outputs that accept nothing.
#[derive(Default)]
pub(super) struct Ending {
    begun: Cell<Option<Instant>>,
    signals: Option<Signals>,
    closing: Closing,
}

impl Ending {
    /// An end that begins with a signal.
    pub(super) fn at(signals: Signals) -> Self {
        Self { signals: Some(signals), ..Self::default() }
    }

    /// An end with the time limit of `closing`.
    pub(super) fn of(closing: Closing) -> Self {
        Self { closing, ..Self::default() }
    }

    /// The time limit of the end of a live run.
    pub(super) const fn closing(&self) -> &Closing {
        &self.closing
    }

    /// Starts the end of the run, unless it has started.
    pub(super) fn begin(&self) {
        self.begun.set(self.begun.get().or_else(|| Some(Instant::now())));
    }

    /// Whether the end has begun. True if signals cannot be queried, as nothing would end a wait then.
    pub(super) fn has_begun(&self) -> bool {
        if self.begun.get().is_none()
            && self.signals.as_ref().is_some_and(|signals| signals.have_come().unwrap_or(true))
        {
            self.begin();
        }
        self.begun.get().is_some()
    }

    /// Whether the run stops waiting for an output, given whether it is `stalled`.
    pub(super) fn gives_up(&self, stalled: bool) -> bool {
        self.has_begun() && (stalled || self.begun.get().is_some_and(|begun| begun.elapsed() >= LONGEST))
    }
}
