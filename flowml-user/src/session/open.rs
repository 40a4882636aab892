//! An open session and its open record.

use flowml_common::flow::{FlowKey, FlowStats};
use flowml_common::tunnel::Outer;
use serde::{Deserialize, Serialize};

use super::beginning::BeginWindows;
use super::connection::Connection;
use super::contents::Contents;
use super::ended::Standing;
use super::initiator::{Initiator, InitiatorRule, Known, Signs};
use super::statistics::Statistics;

/// The open record of a session.
#[derive(Serialize, Deserialize)]
pub(super) enum Record {
    /// The first record of the session.
    First(Statistics),
    /// A record after an active timeout. It has no statistics until a packet comes.
    Further(Option<Statistics>),
}

impl Record {
    pub(super) fn statistics(&self) -> Option<&Statistics> {
        match self {
            Self::First(statistics) => Some(statistics),
            Self::Further(statistics) => statistics.as_ref(),
        }
    }

    pub(super) fn absorb(&mut self, partial: &FlowStats) {
        match self {
            Self::First(statistics) | Self::Further(Some(statistics)) => statistics.follow(partial),
            Self::Further(none) => *none = Some(Statistics::of(partial)),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) key: FlowKey,
    pub(super) record: Record,
    pub(super) known: Known,
    /// Whether each sender has ever sent a packet.
    pub(super) sent: [bool; 2],
    pub(super) connection: Connection,
    pub(super) contents: Option<Box<Contents>>,
    /// The tunnel of the first packet.
    pub(super) tunnel: Option<Box<Outer>>,
    /// The host windows of the open record.
    pub(super) windows: Option<BeginWindows>,
    pub(super) last_ns: u64,
    /// The tick of the session in the timers.
    pub(super) due: u64,
}

impl Session {
    /// Whether the session consists of one packet.
    pub(super) fn is_slight(&self) -> bool {
        matches!(&self.record, Record::First(statistics) if statistics.packets() == 1)
    }

    /// The initiator, by the open record. `None` for a further record without packets.
    pub(super) fn initiator(&self, rule: InitiatorRule) -> Option<Initiator> {
        let signs = self.record.statistics()?.signs();
        Some(match rule {
            InitiatorRule::Evidence => Initiator::known(&self.key, &signs, self.known),
            InitiatorRule::FirstPacket => Initiator::first(&signs),
        })
    }

    /// The state after the absorbed partial flow `partial`.
    pub(super) fn standing(&mut self, partial: &FlowStats, rule: InitiatorRule, new: bool, renews: bool) -> Standing {
        for (sent, direction) in self.sent.iter_mut().zip(&partial.directions) {
            *sent |= direction.packets > 0;
        }
        let initiator = self.initiator(rule).unwrap_or_else(|| Initiator::first(&Signs::of(partial))).sender;
        let answered = self.sent[initiator.opposite() as usize];
        Standing { new, initiator, answered, about_sender: false, renews }
    }

    /// Sets the windows of the open record, if it has started and has none.
    pub(super) fn set_windows(
        &mut self,
        rule: InitiatorRule,
        of: &impl Fn(&FlowKey, &FlowStats, Standing) -> BeginWindows,
    ) {
        if let (None, Some(statistics), Some(Initiator { sender, .. })) =
            (self.windows, self.record.statistics(), self.initiator(rule))
        {
            let new = matches!(self.record, Record::First(_));
            let answered = self.sent[sender.opposite() as usize];
            let standing = Standing { new, initiator: sender, answered, about_sender: false, renews: false };
            self.windows = Some(of(&self.key, &statistics.stats(), standing));
        }
    }
}
