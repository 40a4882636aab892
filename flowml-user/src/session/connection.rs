//! The TCP state of a session: how its sides opened the connection, and whether they have ended it.

use flowml_common::flow::{FIN, FlowStats, Opening, RST};
use serde::{Deserialize, Serialize};

/// The index of a flag in the counters.
pub(super) const fn bit(flag: u8) -> usize {
    flag.trailing_zeros() as usize
}

/// The TCP state of a session, by sender.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Connection {
    openings: [Option<Opening>; 2],
    fins: [bool; 2],
    resets: [bool; 2],
}

impl Connection {
    pub(super) fn absorb(&mut self, partial: &FlowStats) {
        for (sender, direction) in partial.directions.iter().enumerate() {
            self.openings[sender] = Opening::follow(self.openings[sender], direction.opening);
            self.fins[sender] |= direction.flags[bit(FIN)] > 0;
            self.resets[sender] |= direction.flags[bit(RST)] > 0;
        }
    }

    /// Whether both sides have sent FIN, or one has sent RST.
    pub(super) fn is_closed(&self) -> bool {
        self.fins == [true; 2] || self.resets != [false; 2]
    }

    /// Whether `partial` starts with the opening of another connection (RFC 9293 §3.6.1): a SYN after the end, or with
    /// another initial sequence number. A SYN,ACK counts only if the SYN that it answers was not seen.
    ///
    /// The flow table guarantees that the opening of a partial flow is its first packet. The exception is a SYN,ACK
    /// whose SYN is in the same partial flow.
    pub(super) fn is_followed_by(&self, partial: &FlowStats) -> bool {
        let openings = partial.directions.each_ref().map(|direction| direction.opening);
        let (sender, sequence) = match openings {
            [Some(Opening::Syn(sequence)), _] => (0, sequence),
            [_, Some(Opening::Syn(sequence))] => (1, sequence),
            [Some(Opening::SynAck(sequence)), _] if !matches!(self.openings[1], Some(Opening::Syn(_))) => (0, sequence),
            [_, Some(Opening::SynAck(sequence))] if !matches!(self.openings[0], Some(Opening::Syn(_))) => (1, sequence),
            _ => return false,
        };
        let is_syn = matches!(openings[sender], Some(Opening::Syn(_)));
        match self.openings[sender] {
            Some(own) => own.sequence() != sequence || is_syn && self.is_closed(),
            None => self.is_closed(),
        }
    }
}
