//! The rules by which sessions and records end, in ns.

use std::time::Duration;

use flowml_common::flow::FlowStats;
use flowml_common::time::Boundaries;

use super::initiator::InitiatorRule;
use super::open::Session;
use super::timeouts::{EndReason, LINGER_NS, Timeouts};

/// The [`Timeouts`] in ns.
pub(super) struct Rules {
    idle_ns: u64,
    active_ns: u64,
    boundaries: Boundaries,
    end_by_flags: bool,
    pub(super) initiator: InitiatorRule,
}

impl Rules {
    /// The rules that follow from these timeouts.
    pub(super) fn new(timeouts: Timeouts) -> Self {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            idle_ns: ns(timeouts.idle),
            active_ns: ns(timeouts.active),
            boundaries: timeouts.boundaries(),
            end_by_flags: timeouts.end_by_flags,
            initiator: timeouts.initiator,
        }
    }

    /// The time and the reason of the end of the session or its record, if no further packet comes.
    pub(super) fn deadline(&self, session: &Session) -> (u64, EndReason) {
        let idle = (session.last_ns.saturating_add(self.idle_ns), EndReason::IdleTimeout);
        let active = session.record.statistics().map_or(idle, |statistics| {
            let active_ns = statistics.first_ns().saturating_add(self.active_ns);
            (self.boundaries.slot_from(active_ns), EndReason::ActiveTimeout)
        });
        let end = if self.end_by_flags && session.connection.is_closed() {
            (session.last_ns.saturating_add(LINGER_NS), EndReason::EndOfFlow)
        } else {
            idle
        };
        // At equal times an end of the session comes before an end of the record, and flags come before the idle
        // timeout.
        [end, idle, active].into_iter().min_by_key(|(at_ns, _)| *at_ns).unwrap_or(idle)
    }

    /// The reason why `partial` cannot belong to the open record. `None` if it can.
    pub(super) fn ends_before(&self, session: &Session, partial: &FlowStats) -> Option<EndReason> {
        let (deadline_ns, reason) = self.deadline(session);
        if deadline_ns <= partial.first_ns() {
            return Some(reason);
        }
        (self.end_by_flags && session.connection.is_followed_by(partial)).then_some(EndReason::EndOfFlow)
    }
}
