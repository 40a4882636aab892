//! When a run is to end, whatever its outputs do.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::closing::Closing;
use crate::capture::file::Signals;

/// So long the end of a run waits for outputs that take rows.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether the end of a run has begun: from then on, outputs that take nothing are not waited for.
#[derive(Default)]
pub(super) struct Ending {
    begun: Cell<Option<Instant>>,
    signals: Option<Signals>,
    closing: Closing,
}

impl Ending {
    /// One that begins with a signal.
    pub(super) fn at(signals: Signals) -> Self {
        Self { signals: Some(signals), ..Self::default() }
    }

    /// One that has no time for all that waits when `closing` has taken long.
    pub(super) fn of(closing: Closing) -> Self {
        Self { closing, ..Self::default() }
    }

    /// How long the end of a live run may take.
    pub(super) const fn closing(&self) -> &Closing {
        &self.closing
    }

    /// It has begun.
    pub(super) fn begin(&self) {
        self.begun.set(self.begun.get().or_else(|| Some(Instant::now())));
    }

    /// Whether it has. Where signals cannot be asked for, nothing would end a wait.
    pub(super) fn has_begun(&self) -> bool {
        if self.begun.get().is_none()
            && self.signals.as_ref().is_some_and(|signals| signals.have_come().unwrap_or(true))
        {
            self.begin();
        }
        self.begun.get().is_some()
    }

    /// Whether an output is not waited for any longer, which is `stalled` or not.
    pub(super) fn gives_up(&self, stalled: bool) -> bool {
        self.has_begun() && (stalled || self.begun.get().is_some_and(|begun| begun.elapsed() >= LONGEST))
    }
}
