//! The times of retries after a failure: exponential backoff from 1 s to 30 s.

use std::time::{Duration, Instant};

/// Time until the first retry. It doubles with each retry.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The time until the next attempt.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    again: Instant,
}

impl Backoff {
    /// Starts after the first failure.
    pub(super) fn begin(now: Instant) -> Self {
        Self { pause: FIRST, again: now + FIRST }
    }

    /// The time of the next retry.
    pub(super) const fn again(&self) -> Instant {
        self.again
    }

    /// Whether a retry is due. If so, the retry counts as failed unless [`Self::begin`] is called again.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.again {
            return false;
        }
        self.pause = (2 * self.pause).min(LONGEST);
        self.again = now + self.pause;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_become_less_frequent() {
        let begun = Instant::now();
        let mut backoff = Backoff::begin(begun);
        let due = (0..100).filter(|second| backoff.is_due(begun + Duration::from_secs(*second)));
        assert_eq!(due.collect::<Vec<_>>(), [1, 3, 7, 15, 31, 61, 91]);
    }
}
