//! Timeouts of sessions and records, and the reasons for their ends.

use std::time::Duration;

use flowml_common::time::Boundaries;
use serde::{Deserialize, Serialize};

use super::initiator::InitiatorRule;

/// The reason for the end of a record, with the numbers of IPFIX's `flowEndReason` (IE 136).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EndReason {
    /// There was no packet for the idle timeout.
    IdleTimeout = 1,
    /// The record was open for the active timeout. The session continues in another record.
    ActiveTimeout = 2,
    /// FIN from both sides, RST, or another connection on the same ports.
    EndOfFlow = 3,
    /// The agent stopped.
    ForcedEnd = 4,
    /// There were too many open sessions.
    LackOfResources = 5,
}

impl EndReason {
    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle_timeout",
            Self::ActiveTimeout => "active_timeout",
            Self::EndOfFlow => "end_of_flow",
            Self::ForcedEnd => "forced_end",
            Self::LackOfResources => "lack_of_resources",
        }
    }

    const ALL: [Self; 5] =
        [Self::IdleTimeout, Self::ActiveTimeout, Self::EndOfFlow, Self::ForcedEnd, Self::LackOfResources];

    /// The reason with this name in records.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// The rules for the end of sessions and records, and for the initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The idle timeout: a session ends after this time without a packet.
    pub idle: Duration,
    /// The active timeout: a record ends after this time, and the session continues in another.
    pub active: Duration,
    /// Whether TCP flags end a session: FIN from both sides, RST, or a SYN that opens another connection.
    pub end_by_flags: bool,
    /// The smallest number of slots in an active timeout. A record that reaches the active timeout ends at the start of
    /// the next slot, which does not depend on when the flow table is drained.
    pub active_slots: u32,
    /// The rule for the initiator.
    pub initiator: InitiatorRule,
}

impl Timeouts {
    /// The boundaries at which an entry of the flow table ends: wherever a session or a record may end.
    #[must_use]
    pub fn boundaries(&self) -> Boundaries {
        Boundaries::new(self.idle.min(Duration::from_nanos(LINGER_NS)), self.active / self.active_slots)
    }

    /// The latest time at which a record can have ended for this reason. The times are that of its first packet, that of
    /// its last packet and the result, in ms of one clock. `None` if the agent ended the record.
    #[must_use]
    pub fn over_ms(&self, reason: EndReason, first_ms: f64, last_ms: f64) -> Option<f64> {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        match reason {
            EndReason::IdleTimeout => Some(last_ms + ms(self.idle)),
            EndReason::ActiveTimeout => Some(first_ms + ms(self.active) + ms(self.boundaries().slot())),
            EndReason::EndOfFlow => Some(last_ms + ms(Duration::from_nanos(LINGER_NS))),
            EndReason::ForcedEnd | EndReason::LackOfResources => None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15),
            active: Duration::from_secs(120),
            end_by_flags: true,
            active_slots: 16,
            initiator: InitiatorRule::Evidence,
        }
    }
}

/// Time without packets after FIN or RST before the session ends, in ns. Late acknowledgements and retransmitted FINs
/// therefore belong to the session and are not a flow of their own.
pub(super) const LINGER_NS: u64 = 2_000_000_000;
