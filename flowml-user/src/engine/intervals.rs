//! The end of an interval: hosts and ended flows are scored, and the interval is reported.

use std::ops::ControlFlow;
use std::time::Duration;

use flowml_common::packet::Skipped;

use super::ending::Last;
use super::{Interval, Learners, Pipeline};
use crate::export::{IntervalReport, Shedding};
use crate::process::words::counted;
use crate::record::Clock;

impl Pipeline {
    /// Ends an interval at `at_ns` of the capture's clock: scores hosts and the flows that have ended, and reports.
    ///
    /// Breaks if the run is to end because standard output was closed.
    pub fn end_interval(&mut self, at_ns: u64, clock: Clock) -> ControlFlow<()> {
        let elapsed = Duration::from_nanos(at_ns.saturating_sub(self.interval_began_ns));
        let hosts = self.windows.advance(at_ns);
        self.sessions.set_windows(|key, stats, standing| self.windows.around(key, stats, standing));
        let ended = self.sessions.expire(at_ns);
        if let Some(learners) = &mut self.learners {
            learners.expect_hosts(hosts.windows.len(), elapsed);
            learners.expect_flows(ended.len(), elapsed);
        }
        // This comes first, as rows that sequential tests report must not be used for training.
        self.tests.ended(&ended);
        let findings = self.tests.interval(at_ns);
        self.judge_hosts(&hosts, &findings, at_ns, clock);
        let mut last = Last::of(ended.len());
        self.end_flows(ended, &mut last, clock);
        self.end_further_flows(at_ns, &mut last, clock);
        self.print_last(&last);
        self.report_table_full(at_ns);
        self.report_events();
        self.end_minute(at_ns, clock);
        self.interval_began_ns = at_ns;
        self.totals.duration += elapsed;
        let shedding = self.end_shedding(clock);
        let Interval { received, skipped, tunnels, flows_new, occupancy, drains, late } =
            std::mem::take(&mut self.interval);
        self.sinks.interval(&IntervalReport {
            end_ms: clock.unix_ms(at_ns),
            clock,
            elapsed,
            interfaces: self.interfaces.clone(),
            received,
            skipped,
            tunnels,
            flows_open: self.sessions.len() as u64,
            flows_new,
            occupancy,
            drains,
            late,
            level: self.shed.level,
            shedding,
            learners: self.learners.as_ref().map(Learners::reports).unwrap_or_default(),
            incidents: self.incidents.open().cloned().collect(),
        })
    }

    /// Processes the remaining flows in parts, if more have ended than are scored together.
    pub(super) fn end_further_flows(&mut self, at_ns: u64, last: &mut Last, clock: Clock) {
        loop {
            let ended = self.sessions.expire(at_ns);
            if ended.is_empty() {
                return;
            }
            if let Some(learners) = &mut self.learners {
                learners.expect_flows(ended.len(), Duration::ZERO);
            }
            self.tests.ended(&ended);
            self.end_flows(ended, last, clock);
        }
    }

    /// Writes the aggregate records of an interval. Returns the counts of what was left out in it.
    pub(super) fn end_shedding(&mut self, clock: Clock) -> Shedding {
        self.shed.overflow(self.sessions.take_overflow());
        let (aggregates, left_out) = self.shed.end_interval(clock);
        aggregates.into_iter().for_each(|aggregate| self.sinks.aggregate(aggregate));
        self.recorded.add(left_out.aggregated.packets, left_out.aggregated.bytes);
        self.totals.shedding.add(&left_out);
        left_out
    }

    /// Reports when packets find the flow table full, and when that ends.
    pub(super) fn report_table_full(&mut self, at_ns: u64) {
        let packets = self.interval.skipped[Skipped::TableFull as usize].packets;
        if packets > 0 && self.table_full.comes(packets, at_ns) {
            self.sinks.warn(
                "the flow table is full: packets of new flows are skipped as table_full until there is room; raise \
                 '--flow-capacity'",
            );
        } else if let Some(packets) = self.table_full.is_over(at_ns) {
            self.sinks.notice(&format!(
                "the flow table has room again: {} were skipped as table_full",
                counted(packets, "packet")
            ));
        }
    }

    pub(super) fn report_events(&mut self) {
        let Some(learners) = &mut self.learners else { return };
        for (of, event) in learners.events() {
            let text = format!("{of}: {event}");
            if event.is_warning() { self.sinks.warn(&text) } else { self.sinks.notice(&text) }
        }
    }
}
