//! When something that failed is tried again: soon, and then less and less often.

use std::time::{Duration, Instant};

/// Until the first attempt, doubled with each that fails.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The time until the next attempt.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    again: Instant,
}

impl Backoff {
    /// It has failed for the first time.
    pub(super) fn begin(now: Instant) -> Self {
        Self { pause: FIRST, again: now + FIRST }
    }

    /// Whether an attempt is due. If so it is taken for failed until there is another [`Self::begin`].
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
    fn attempts_come_less_and_less_often() {
        let begun = Instant::now();
        let mut backoff = Backoff::begin(begun);
        let due = (0..100).filter(|second| backoff.is_due(begun + Duration::from_secs(*second)));
        assert_eq!(due.collect::<Vec<_>>(), [1, 3, 7, 15, 31, 61, 91]);
    }
}
