//! Sends the statistics of rows once a minute.

use super::Pipeline;
use crate::record::Clock;

/// A minute, ms.
const MINUTE_MS: u64 = 60_000;

impl Pipeline {
    /// Sends the statistics if a minute of the clock has ended at `at_ns` of the capture's clock.
    pub(super) fn end_minute(&mut self, at_ns: u64, clock: Clock) {
        let began_ns = *self.minute_began_ns.get_or_insert(self.interval_began_ns);
        let [began, now] = [began_ns, at_ns].map(|ns| clock.unix_ms(ns) / MINUTE_MS);
        if began != now {
            self.send_statistics(at_ns, clock);
        }
    }

    /// Sends the statistics of all rows until `at_ns` that were not sent yet.
    pub(super) fn send_statistics(&mut self, at_ns: u64, clock: Clock) {
        let began_ns = self.minute_began_ns.replace(at_ns).unwrap_or(at_ns);
        let Some(learners) = &mut self.learners else { return };
        let [start_ms, end_ms] = [began_ns, at_ns].map(|ns| clock.unix_ms(ns));
        let statistics = learners.take_statistics(start_ms, end_ms);
        if !statistics.is_empty() {
            self.sinks.statistics(statistics);
        }
    }
}
