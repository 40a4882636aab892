//! Continues what an earlier run left open, and leaves open sessions to the next run.

use flowml_common::handover::Account;

use super::ending::Last;
use super::state::{KeptState, Open, Over};
use super::{Finished, Pipeline};
use crate::process::words::counted;
use crate::record::Clock;

/// Number of sessions that end together because there was no time to save them. So few sessions fit in the processor's
/// cache.
const UNSAVED_AT_ONCE: usize = 1024;

impl Pipeline {
    /// Continues with the sessions that an earlier run left open.
    #[must_use]
    pub(super) fn resume(mut self, open: Option<Open>) -> Self {
        if let Some(Open { sessions, windows, tests, incidents, left }) = open {
            (self.sessions, self.windows, self.tests, self.incidents) = (sessions, windows, *tests, *incidents);
            self.totals.taken_over = left;
        }
        self
    }

    /// Makes records of sessions that an earlier run left and that cannot continue.
    pub(super) fn end_over(&mut self, Over { mut sessions, clock, left }: Over) {
        self.totals.taken_over = left;
        loop {
            let ended = sessions.flush();
            if ended.is_empty() {
                return;
            }
            ended.iter().for_each(|ended| self.record(ended, None, clock));
        }
    }

    /// Continues after earlier agents with this packet accounting.
    #[must_use]
    pub(super) fn after(mut self, earlier: Option<Account>) -> Self {
        self.totals.earlier = earlier;
        self
    }

    /// Ends the run and leaves open sessions to the next one. If that fails, they become records.
    #[must_use]
    pub(super) fn leave(mut self, state: &mut KeptState, clock: Clock) -> Finished {
        self.sinks.end();
        match state.leave(&mut self, clock) {
            Ok(left) => {
                self.totals.left_open = left;
                self.end_without_time(left.sessions, clock);
                self.close(clock)
            }
            Err(error) => {
                self.warn(&format!("{error:#}; open sessions and incidents end"));
                self.end_sessions(clock);
                self.end_incidents(clock);
                self.close(clock)
            }
        }
    }

    /// Ends the sessions that could not be written to the state file in time. `left` other sessions were written.
    pub(super) fn end_without_time(&mut self, left: u64, clock: Clock) {
        let mut last = Last { place: usize::try_from(left).unwrap_or(usize::MAX), ..Last::default() };
        let mut number = 0;
        loop {
            let ended = self.sessions.take_unsaved(UNSAVED_AT_ONCE);
            if ended.is_empty() {
                break;
            }
            number += ended.len() as u64;
            self.end_last_flows(&ended, &mut last, clock);
        }
        if number == 0 {
            return;
        }
        self.sinks.without_records(last.without, last.sessions_without);
        let Last { aggregated, without, .. } = last;
        self.sinks.warn(&format!(
            "there was no time to save {} for the next run: {aggregated} of one packet are in aggregate records, and {without} \
             have no record",
            counted(number, "open session")
        ));
        let _already_in_totals = self.end_shedding(clock);
    }
}
