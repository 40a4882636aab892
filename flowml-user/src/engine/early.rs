//! Reports incidents before the interval ends: under overload, its flows may take seconds to process.

use super::Pipeline;
use crate::export::Level;
use crate::record::Clock;

impl Pipeline {
    /// Reports what sequential tests have found by `at_ns`, if there is overload.
    pub(super) fn report_early(&mut self, at_ns: u64, clock: Clock) {
        if self.shed.level == Level::None {
            return;
        }
        let findings = self.tests.interval(at_ns);
        self.incidents.testify(&findings, at_ns);
        self.sinks.incidents(self.incidents.take_events(), clock);
    }
}
