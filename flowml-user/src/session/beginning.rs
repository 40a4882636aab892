//! What the two hosts of a record did around its beginning: the counts of their host windows that a session keeps.

use flowml_common::flow::Part;
use serde::{Deserialize, Serialize};

use super::{Ended, Initiator, InitiatorRule, Record, Session, Standing};

/// What a host did in one role, within one host window. Amounts beyond 32 bits count as the largest of 32 bits: a million
/// sessions keep two of these each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCounts {
    /// Flows with packets in the window.
    pub flows: u32,
    /// Flows that began in the window.
    pub new_flows: u32,
    /// Of these, those to a service that begins with a login.
    pub login_flows: u32,
    /// Flows whose responder has never sent a packet.
    pub unanswered: u32,
    /// Addresses on the other side.
    pub peers: u32,
    /// Ports of the responder's side, by protocol.
    pub ports: u32,
    /// TCP packets with SYN and without ACK, both ways.
    pub syn_packets: u32,
    /// Packets, both ways.
    pub packets: u32,
}

impl HostCounts {
    /// Flows without an answer among all.
    #[must_use]
    pub fn unanswered_share(&self) -> f64 {
        share(self.unanswered, self.flows)
    }

    /// SYN without ACK among the packets.
    #[must_use]
    pub fn syn_share(&self) -> f64 {
        share(self.syn_packets, self.packets)
    }
}

/// `part` of `whole`, 0 of nothing.
fn share(part: u32, whole: u32) -> f64 {
    if whole > 0 { f64::from(part) / f64::from(whole) } else { 0.0 }
}

/// What the initiator of a record did over minutes, as decayed counts: an event of one time constant ago counts 1/e.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlowCounts {
    /// Addresses that it opened flows to; ten minutes.
    pub peers: f32,
    /// Ports of the responder that it opened flows to; ten minutes.
    pub ports: f32,
    /// TCP connections that it opened to this service of the responder: two seconds, a minute, ten minutes.
    pub connections: [f32; 3],
}

/// The windows of both hosts that ended with the interval in which a record began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeginWindows {
    /// What the initiator did, in the flows that it opened.
    pub source: HostCounts,
    /// What was done to the responder, in the flows that were opened to it.
    pub destination: HostCounts,
    /// What the initiator did over minutes, by the end of that interval.
    pub slow: SlowCounts,
}

impl Session {
    /// Takes the windows of the record in the making, if it has begun and has none.
    pub(super) fn set_windows(&mut self, rule: InitiatorRule, of: &impl Fn(&Part, Standing) -> BeginWindows) {
        if let (None, Some(stats), Some(Initiator { sender, .. })) =
            (self.windows, self.record.stats(), self.initiator(rule))
        {
            let new = matches!(self.record, Record::First(_));
            let answered = self.sent[sender.opposite() as usize];
            let standing = Standing { new, initiator: sender, answered, about_sender: false };
            self.windows = Some(of(&Part { key: self.key, stats: *stats }, standing));
        }
    }
}

impl Ended {
    /// Takes the windows of a record that ended in the interval in which it began.
    pub(super) fn set_windows(&mut self, of: &impl Fn(&Part, Standing) -> BeginWindows) {
        if self.windows.is_none() {
            let initiator = self.initiator.sender;
            let answered = self.stats.direction(initiator.opposite()).packets > 0;
            let standing = Standing { new: !self.continues, initiator, answered, about_sender: false };
            self.windows = Some(of(&Part { key: self.key, stats: self.stats }, standing));
        }
    }
}
