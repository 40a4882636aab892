//! Flows that end: with scores while there is time, and all of them at the end of a run.

use flowml_common::table::Count;

use super::{Finished, Pipeline};
use crate::export::Level;
use crate::record::Clock;
use crate::session::Ended;

/// Flows that end together, and the number of them that get no record at the end of the run.
#[derive(Default)]
pub(super) struct Last {
    pub(super) together: usize,
    /// Number of flows processed.
    pub(super) place: usize,
    pub(super) aggregated: u64,
    pub(super) without: u64,
    pub(super) sessions_without: u64,
}

impl Last {
    pub(super) fn of(together: usize) -> Self {
        Self { together, ..Self::default() }
    }
}

impl Pipeline {
    /// Makes records of flows that have ended, as far as time allows.
    pub(super) fn end_flows(&mut self, mut ended: Vec<Ended>, last: &mut Last, clock: Clock) {
        if !self.sinks.closing().scores(last.together) {
            return self.end_last_flows(&ended, last, clock);
        }
        if self.shed.leaves_out(Level::Scores) {
            ended.retain(|ended| !self.end_slight(ended, clock));
        }
        self.judge_flows(&ended, clock);
        self.sessions.reuse(ended);
    }

    /// Ends a flow of one packet without a score. Returns false for other flows.
    fn end_slight(&mut self, ended: &Ended, clock: Clock) -> bool {
        if !ended.is_slight() {
            return false;
        }
        if self.shed.leaves_out(Level::Records) {
            self.shed.aggregate_ended(ended);
        } else {
            self.shed.count(Level::Scores, 1);
            self.record(ended, None, clock);
        }
        true
    }

    /// Makes records of flows that end with the run, until the time is up.
    pub(super) fn end_last_flows(&mut self, ended: &[Ended], last: &mut Last, clock: Clock) {
        let closing = self.sinks.closing().clone();
        for ended in ended {
            let Count { packets, bytes } = ended.counted();
            let is_shed = self.shed.leaves_out(Level::Records) && ended.is_slight();
            if !is_shed && closing.records(last.place, packets) {
                self.record(ended, None, clock);
            } else if ended.is_slight() {
                self.shed.aggregate_ended(ended);
                last.aggregated += 1;
            } else {
                self.recorded.add(packets, bytes);
                last.without += 1;
                last.sessions_without += u64::from(!ended.continues);
            }
            last.place += 1;
        }
    }

    /// Ends all sessions, because time starts again or the run ends.
    pub(super) fn end_sessions(&mut self, clock: Clock) {
        let mut last = Last::of(self.sessions.len());
        let mut ended = self.sessions.flush();
        self.end_tests(&ended);
        loop {
            self.end_flows(ended, &mut last, clock);
            ended = self.sessions.flush();
            if ended.is_empty() {
                break;
            }
            self.tests.ended(&ended);
        }
        self.print_last(&last);
        let _already_in_totals = self.end_shedding(clock);
    }

    /// Reports the number of flows without a record.
    pub(super) fn print_last(&mut self, &Last { together, place, aggregated, without, sessions_without }: &Last) {
        self.sinks.without_records(without, sessions_without);
        if place > 0 {
            self.sinks.warn(&format!(
                "{together} flows end together with the run: they have no scores, {aggregated} of one packet are in aggregate \
                 records, and there was no time for the records of {without}"
            ));
        }
    }

    /// Collects the last findings of the sequential tests.
    pub(super) fn end_tests(&mut self, ended: &[Ended]) {
        self.tests.ended(ended);
        self.incidents.testify(&self.tests.finish(self.interval_began_ns), self.interval_began_ns);
    }

    pub(super) fn end_incidents(&mut self, clock: Clock) {
        self.sinks.incidents(self.incidents.finish(), clock);
    }

    /// Ends the run: all sessions become records, and the summary is written.
    #[must_use]
    pub fn finish(mut self, clock: Clock) -> Finished {
        self.sinks.end();
        self.end_sessions(clock);
        self.end_incidents(clock);
        self.close(clock)
    }

    pub(super) fn close(mut self, clock: Clock) -> Finished {
        self.send_statistics(self.interval_began_ns, clock);
        let unaccounted = |of: fn(&Count) -> u64| {
            let [came, went] = [
                [&self.totals.in_flows, &self.totals.taken_over.counted],
                [&self.recorded, &self.totals.left_open.counted],
            ];
            came.map(of).iter().sum::<u64>().abs_diff(went.map(of).iter().sum())
        };
        self.totals.unaccounted =
            Count { packets: unaccounted(|count| count.packets), bytes: unaccounted(|count| count.bytes) };
        (self.totals.incidents, self.totals.incidents_left_out) = self.incidents.totals();
        let conserved = self.totals.is_conserved();
        let left = self.totals.left_open;
        let outputs = self.sinks.finish(&self.totals);
        Finished { learners: self.learners, conserved, outputs, left }
    }
}
