//! The interface of a receiver, as the thread that delivers events uses it.

use std::time::Duration;

use super::event::Event;

/// The reason why an event was not delivered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be delivered later.
    Later(String),
    /// The receiver does not accept this event.
    Refused(String),
}

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
