//! The interface of a receiver, as the thread that delivers events uses it.

use std::time::Duration;

use super::super::remote::Failure;
use super::event::Event;

/// Delivers events to a receiver.
pub(super) trait Receive: Send {
    /// Delivers an event within `limit`.
    fn deliver(&mut self, event: &Event<'_>, limit: Duration) -> Result<(), Failure>;

    /// The time after which [`Self::repeat`] is due, if the receiver needs repetitions.
    fn repeats_every(&self) -> Option<Duration> {
        None
    }

    /// Repeats what the receiver would forget. Returns whether there was anything to repeat.
    fn repeat(&mut self, _limit: Duration) -> Result<bool, Failure> {
        Ok(false)
    }
}
