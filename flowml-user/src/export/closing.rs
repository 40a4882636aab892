//! Limits the duration of the end of a live run, and decides which records are left out for this.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// This number of rows at the end of the run is scored and written without a time limit.
const WHOLE: usize = 65_536;

/// After this time no further records are made of flows that end with the run. It leaves 0.8 s of the two seconds in
/// which a run ends: for detaching, waiting rows, and the return of memory on a busy host.
const LIMIT: Duration = Duration::from_millis(1200);

/// The time at which the end of a live run began, shared by all its threads. A run over files never sets it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing(Arc<OnceLock<Instant>>);

impl Closing {
    /// Starts the end of the run, unless it has started.
    pub(crate) fn begin(&self) {
        self.0.get_or_init(Instant::now);
    }

    /// Whether queued intervals are merged into one, as they are when ticks are missed.
    #[must_use]
    pub(crate) fn merges_intervals(&self) -> bool {
        self.has_taken(LIMIT / 4)
    }

    /// Whether a batch of `rows` queued rows is scored.
    #[must_use]
    pub(crate) fn scores(&self, rows: usize) -> bool {
        rows <= WHOLE || !self.has_taken(Duration::ZERO)
    }

    /// Whether the flow at index `place` of those that end together gets a record. Flows of one packet lose theirs
    /// first.
    #[must_use]
    pub(crate) fn records(&self, place: usize, packets: u64) -> bool {
        place < WHOLE || !self.has_taken(if packets > 1 { LIMIT } else { LIMIT / 2 })
    }

    /// Whether there is no time left for queued rows.
    pub(super) fn is_late(&self) -> bool {
        self.has_taken(LIMIT)
    }

    fn has_taken(&self, limit: Duration) -> bool {
        self.0.get().is_some_and(|begun| begun.elapsed() >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An end of the run that began `ago`.
    fn begun(ago: Duration) -> Closing {
        let closing = Closing::default();
        closing.0.set(Instant::now().checked_sub(ago).expect("the machine is up for longer")).expect("it is new");
        closing
    }

    #[test]
    fn nothing_is_left_out_before_the_end() {
        let closing = Closing::default();
        assert!(closing.scores(usize::MAX) && closing.records(usize::MAX, 1));
        assert!(!closing.merges_intervals() && !closing.is_late());
    }

    #[test]
    fn at_the_end_scores_are_left_out_first_and_records_of_busy_flows_last() {
        let (early, middle, late) = (begun(Duration::ZERO), begun(LIMIT * 2 / 3), begun(LIMIT));
        for (closing, expected) in [(&early, [true, true]), (&middle, [false, true]), (&late, [false, false])] {
            assert!(!closing.scores(WHOLE + 1));
            assert_eq!([1, 2].map(|packets| closing.records(WHOLE, packets)), expected, "{closing:?}");
        }
        assert!(late.scores(WHOLE) && late.records(WHOLE - 1, 1), "the open flows of a normal run are complete");
    }
}
