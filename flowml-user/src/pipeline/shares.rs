//! How the memory is divided that traffic may take (`--memory-max`): each thing that grows with traffic has a part.

use flowml_common::content::PayloadLimit;

use crate::session;

/// Each output may have so much, however little there is: a batch of rows, and what a flush of it takes.
const LEAST_FOR_OUTPUTS: usize = 16 << 20;

/// Sessions that are kept however little memory there is.
const FEWEST_SESSIONS: usize = 1024;

/// What a flow takes while it is judged: its row of numbers and its verdict, bytes.
const JUDGED: usize = 2048;

/// The parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Bytes of epochs that wait to be processed: a quarter.
    pub(super) backlog: usize,
    /// Sessions that are open: three eighths of the memory.
    pub(super) sessions: usize,
    /// Sessions that have ended and are judged together: an eighth.
    pub(super) judged: usize,
    /// Bytes of rows that wait for outputs, together: a quarter.
    pub(super) outputs: usize,
}

impl Shares {
    /// The parts of so many bytes, where so much payload of a flow is kept.
    pub(super) fn of(limit: usize, payload: Option<PayloadLimit>) -> Self {
        let eighth = limit / 8;
        let session = session::bytes_of_one(payload);
        Self {
            backlog: 2 * eighth,
            sessions: (3 * eighth / session).clamp(FEWEST_SESSIONS, session::DEFAULT_CAPACITY),
            judged: (eighth / (session + JUDGED)).max(FEWEST_SESSIONS),
            outputs: (2 * eighth).max(LEAST_FOR_OUTPUTS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_not_more_than_the_whole() {
        for payload in [None, PayloadLimit::new(256)] {
            for shift in 26..40 {
                let limit = 1 << shift;
                let Shares { backlog, sessions, judged, outputs } = Shares::of(limit, payload);
                let session = session::bytes_of_one(payload);
                let sum = backlog + sessions * session + judged * (session + JUDGED) + outputs;
                assert!(sum <= limit, "{sum} of {limit}");
            }
        }
    }

    #[test]
    fn little_memory_leaves_something_of_each_and_much_does_not_raise_the_capacity() {
        let Shares { backlog, sessions, judged, outputs } = Shares::of(1 << 20, None);
        assert_eq!((backlog, sessions, judged, outputs), (1 << 18, 1024, 1024, 16 << 20));
        assert_eq!(Shares::of(1 << 40, None).sessions, session::DEFAULT_CAPACITY);
    }
}
