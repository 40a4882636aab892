//! A complete record, and the state of a session after a partial flow.

use flowml_common::flow::{Address, FlowKey, FlowStats, Sender};
use flowml_common::table::Count;
use flowml_common::tunnel::Outer;
use serde::{Deserialize, Serialize};

use super::beginning::BeginWindows;
use super::contents::Contents;
use super::initiator::Initiator;
use super::timeouts::EndReason;

/// A complete record, and its session's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The key of the flow.
    pub key: FlowKey,
    /// The statistics.
    pub stats: FlowStats,
    /// The first payload bytes of the session, if they are kept.
    pub contents: Option<Box<Contents>>,
    /// The tunnel of the first packet of the session, if it is in one.
    pub tunnel: Option<Box<Outer>>,
    /// The activity of the hosts when the record started. `None` if the interval of its start was cut short.
    pub windows: Option<BeginWindows>,
    /// The initiator of the session by all evidence. A record that continues another keeps its initiator, whoever sends
    /// first in it, unless its own packets have stronger evidence.
    pub initiator: Initiator,
    /// The reason why the record is complete.
    pub reason: EndReason,
    /// Whether an earlier record of the same session ended by the active timeout.
    pub continues: bool,
}

impl Ended {
    /// Number of packets and frame bytes.
    #[must_use]
    pub const fn counted(&self) -> Count {
        Count { packets: self.stats.packets(), bytes: self.stats.frame_bytes() }
    }

    /// Whether the record has one packet, and its session has no earlier record.
    #[must_use]
    pub(crate) const fn is_slight(&self) -> bool {
        self.stats.packets() == 1 && !self.continues
    }

    /// Sets the windows of a record that ended in the interval in which it started.
    pub(super) fn set_windows(&mut self, of: &impl Fn(&FlowKey, &FlowStats, Standing) -> BeginWindows) {
        if self.windows.is_none() {
            let initiator = self.initiator.sender;
            let answered = self.stats.direction(initiator.opposite()).packets > 0;
            let standing = Standing { new: !self.continues, initiator, answered, about_sender: false, renews: false };
            self.windows = Some(of(&self.key, &self.stats, standing));
        }
    }
}

/// The state of a session after it absorbed a partial flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the session starts with this partial flow.
    pub new: bool,
    /// The initiator by the evidence so far. The record has the same, unless later evidence is stronger.
    pub initiator: Sender,
    /// Whether the other side has ever sent a packet.
    pub answered: bool,
    /// For ICMP errors: whether the packets that caused them were addressed to the sender of the errors, and not to a
    /// host behind it.
    pub about_sender: bool,
    /// Whether the use of the flow's hosts is to be noted: the session gets its second packet, or its first packet within
    /// a period of two minutes. A memory of hosts needs no look-up for other partial flows.
    pub renews: bool,
}

/// Whether an absorbed partial flow is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The partial flow is in a session.
    InSession,
    /// The partial flow is in no session.
    Not,
}

impl Standing {
    /// The addresses of both endpoints, the initiator's first.
    pub(crate) fn addresses(&self, key: &FlowKey) -> [Address; 2] {
        [self.initiator, self.initiator.opposite()].map(|end| key.endpoint(end).address)
    }
}
