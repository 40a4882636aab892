//! Divides the memory that traffic may use (`--memory-max`) among everything that grows with traffic.

use flowml_common::content::PayloadLimit;

use crate::session;

/// The minimum memory for outputs, bytes: it holds a batch of rows and what a flush of it needs.
const LEAST_FOR_OUTPUTS: usize = 16 << 20;

/// Minimum number of sessions.
const FEWEST_SESSIONS: usize = 1024;

/// Memory of a flow while it is scored, bytes: its feature vector and its verdict.
const JUDGED: usize = 2048;

/// The parts of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Memory of queued epochs, bytes: a quarter.
    pub(super) backlog: usize,
    /// Maximum number of open sessions: three eighths of the memory.
    pub(super) sessions: usize,
    /// Maximum number of ended sessions that are scored together: an eighth.
    pub(super) judged: usize,
    /// Memory of rows queued for all outputs, bytes: a quarter.
    pub(super) outputs: usize,
}

impl Shares {
    /// Divides `limit` bytes, given what is kept of each flow: its payload, and its tunnel.
    pub(super) fn of(limit: usize, payload: Option<PayloadLimit>, tunnels: bool) -> Self {
        let eighth = limit / 8;
        let session = session::bytes_of_one(payload, tunnels);
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
    fn the_parts_do_not_exceed_the_limit() {
        for (payload, tunnels) in [(None, false), (None, true), (PayloadLimit::new(256), true)] {
            for shift in 26..40 {
                let limit = 1 << shift;
                let Shares { backlog, sessions, judged, outputs } = Shares::of(limit, payload, tunnels);
                let session = session::bytes_of_one(payload, tunnels);
                let sum = backlog + sessions * session + judged * (session + JUDGED) + outputs;
                assert!(sum <= limit, "{sum} of {limit}");
            }
        }
    }

    #[test]
    fn small_limits_keep_minimums_and_large_limits_do_not_raise_the_capacity() {
        let Shares { backlog, sessions, judged, outputs } = Shares::of(1 << 20, None, false);
        assert_eq!((backlog, sessions, judged, outputs), (1 << 18, 1024, 1024, 16 << 20));
        assert_eq!(Shares::of(1 << 40, None, false).sessions, session::DEFAULT_CAPACITY);
    }
}
