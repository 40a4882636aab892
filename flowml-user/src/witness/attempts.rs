//! What became of the first packets of flows: connections, and attempts that led to none.
//!
//! Outcomes hold where only one direction is seen. An initiator that sends ACK has a connection, whoever saw the answer. One
//! that sent a SYN and nothing more for a second, which is the first retransmission timeout (RFC 6298), has none: its connection is
//! half open if the responder accepted it, and else the attempt has failed.

use std::collections::HashMap;

use ahash::RandomState;
use flowml_common::flow::{ACK, Address, FlowKey, RST, SYN};
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::contact::{Contact, established, flagged, goes_on, is_unicast};

/// Without an answer for so long an attempt has failed, ns.
const FAILED_NS: u64 = 1_000_000_000;

/// At the end of a run there is no more to wait for: what is so old has failed, ns (a round trip within a continent).
const FAILED_AT_END_NS: u64 = 50_000_000;

/// Attempts that are waited for. Those beyond have no outcome.
const PENDING: usize = 1 << 16;

/// Packets with a smaller time to live were not meant to arrive: hosts begin with 64, 128 or 255, and paths are shorter than
/// 32 hops. traceroute sends them.
const PROBE_TTL: u8 = 32;

/// Clients ask from this port on: Linux from 32768, others from 49152 (RFC 6335).
const EPHEMERAL: u16 = 32_768;

/// Without an answer, a datagram or two are a question; three are a stream that needs none.
const QUESTION: u64 = 2;

/// What an attempt led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// An answer, or a connection.
    Success,
    /// A SYN was accepted, and its sender did not answer.
    HalfOpen,
    /// A SYN was accepted, and its sender refused the connection: it asked whether somebody listens there.
    Probe,
    /// None.
    Failure,
    /// A SYN with ACK to a host that did not ask for it.
    Unasked,
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub(super) at_ns: u64,
    pub(super) source: Address,
    pub(super) target: Address,
    pub(super) source_port: u16,
    pub(super) port: u16,
    pub(super) protocol: u8,
    pub(super) outcome: Outcome,
    /// Whether an answer would have been seen.
    pub(super) visible: bool,
    /// A segment of no connection, and not one that begins one.
    pub(super) is_stray: bool,
    /// The first segment had ACK.
    pub(super) has_ack: bool,
    /// Packets and IP bytes of the sender.
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What a part says of an attempt.
enum Said {
    Over(Outcome),
    /// If nothing follows, it led to this.
    Wait(Outcome),
    /// It is not an attempt, or shows nothing of its outcome.
    Nothing,
}

/// The attempts that wait for an outcome.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Attempts {
    pending: HashMap<FlowKey, Attempt, RandomState>,
    over: Vec<Attempt>,
}

impl Attempts {
    /// Takes a part. Returns the attempt whose outcome it shows.
    pub(super) fn observe(&mut self, contact: &Contact<'_>, visible: bool) -> Option<Attempt> {
        if contact.new {
            return self.begin(contact, visible);
        }
        // Most parts go on with what is known.
        if self.pending.is_empty() {
            return None;
        }
        let waiting = self.pending.get_mut(&contact.part.key)?;
        waiting.packets += contact.sent.packets;
        waiting.bytes += contact.sent.ip_bytes;
        let said = match (contact.protocol, waiting.outcome) {
            (protocol::TCP, Outcome::Unasked) => of_unasked(contact),
            (protocol::TCP, _) if waiting.is_stray => match flagged(contact.received, RST) {
                0 => Said::Nothing,
                _ => Said::Over(Outcome::Failure),
            },
            (protocol::TCP, outcome) => of_syn(contact, outcome),
            _ if contact.answered => Said::Over(Outcome::Success),
            _ if waiting.packets > QUESTION => Said::Nothing,
            (_, outcome) => Said::Wait(outcome),
        };
        match said {
            Said::Wait(outcome) => {
                waiting.outcome = outcome;
                None
            }
            Said::Over(outcome) => self.pending.remove(&contact.part.key).map(|attempt| Attempt { outcome, ..attempt }),
            Said::Nothing => {
                self.pending.remove(&contact.part.key);
                None
            }
        }
    }

    fn begin(&mut self, contact: &Contact<'_>, visible: bool) -> Option<Attempt> {
        let attempt = |outcome| {
            let sender = if outcome == Outcome::Unasked { contact.received } else { contact.sent };
            Attempt {
                at_ns: contact.first_ns(),
                source: contact.source.address,
                target: contact.target.address,
                source_port: contact.source.port,
                port: contact.target.port,
                protocol: contact.protocol,
                outcome,
                visible,
                is_stray: contact.protocol == protocol::TCP && !contact.opened && outcome != Outcome::Unasked,
                has_ack: flagged(sender, ACK) > 0,
                packets: sender.packets,
                bytes: sender.ip_bytes,
            }
        };
        match said(contact, visible) {
            Said::Over(outcome) => Some(attempt(outcome)),
            Said::Wait(outcome) if self.pending.len() < PENDING => {
                self.pending.insert(contact.part.key, attempt(outcome));
                None
            }
            // Nobody can wait for so many: to a service under a flood they are what they look like.
            Said::Wait(outcome) if contact.protocol == protocol::TCP => Some(attempt(outcome)),
            Said::Wait(_) | Said::Nothing => None,
        }
    }

    /// Answers were counted and not seen: of those that wait there is no outcome.
    pub(super) fn look_away(&mut self) {
        self.pending.clear();
    }

    /// The attempts for which there was no answer in time, in their order; at the end of a run, in what time there was.
    pub(super) fn expire(&mut self, now_ns: u64, is_end: bool) -> Vec<Attempt> {
        let patience_ns = if is_end { FAILED_AT_END_NS } else { FAILED_NS };
        let over = &mut self.over;
        self.pending.retain(|_, attempt| {
            let waits = attempt.at_ns.saturating_add(patience_ns) > now_ns;
            if !waits {
                over.push(*attempt);
            }
            waits
        });
        let mut over = std::mem::take(&mut self.over);
        over.sort_unstable();
        over
    }
}

/// What the first part of a flow says.
fn said(contact: &Contact<'_>, visible: bool) -> Said {
    let Contact { sent, received, .. } = contact;
    if contact.is_fragment() || !is_unicast(contact.target.address) {
        return Said::Nothing;
    }
    match contact.protocol {
        protocol::TCP if contact.opened => of_syn(contact, Outcome::Failure),
        protocol::TCP if flagged(received, SYN) > 0 => of_unasked(contact),
        protocol::TCP => of_stray(contact, visible),
        // What is seen first answers nothing that was seen.
        protocol::UDP if sent.packets == 0 => Said::Nothing,
        protocol::UDP if contact.answered => Said::Over(Outcome::Success),
        protocol::UDP if sent.packets <= QUESTION && sent.ttl_max >= PROBE_TTL && is_question(contact, visible) => {
            Said::Wait(Outcome::Failure)
        }
        protocol::ICMP | protocol::ICMPV6 if contact.is_echo() => match contact.answered {
            true => Said::Over(Outcome::Success),
            false if visible && sent.ttl_max >= PROBE_TTL => Said::Wait(Outcome::Failure),
            false => Said::Nothing,
        },
        _ => Said::Nothing,
    }
}

/// Of a connection whose SYN was seen, and that has led to `before` so far.
fn of_syn(Contact { sent, received, .. }: &Contact<'_>, before: Outcome) -> Said {
    let is_accepted = before == Outcome::HalfOpen || flagged(received, SYN) > 0;
    if established(sent) {
        Said::Over(Outcome::Success)
    } else if is_accepted && flagged(sent, RST) > 0 {
        Said::Over(Outcome::Probe)
    } else if is_accepted {
        Said::Wait(Outcome::HalfOpen)
    } else if flagged(received, RST) > 0 {
        Said::Over(Outcome::Failure)
    } else {
        Said::Wait(Outcome::Failure)
    }
}

/// Of a connection of which the responder's SYN with ACK was seen, and no SYN of the initiator: there was one if either side goes
/// on.
fn of_unasked(contact: &Contact<'_>) -> Said {
    if goes_on(contact) { Said::Over(Outcome::Success) } else { Said::Wait(Outcome::Unasked) }
}

/// Of segments that belong to no connection that was seen to begin. All segments of a connection but its first have ACK
/// (RFC 9293): those without are of FIN, NULL and Xmas scans. One with ACK and without data is refused where there is no connection,
/// and answered where there is one.
fn of_stray(contact: &Contact<'_>, visible: bool) -> Said {
    let Contact { sent, received, .. } = contact;
    let flags = |flag| flagged(sent, flag);
    if sent.packets == 0 || flags(SYN) + flags(RST) > 0 {
        return Said::Nothing;
    }
    let is_probe = sent.packets <= QUESTION && sent.payload_bytes == 0;
    match (flags(ACK), received.packets) {
        (0, _) => Said::Over(Outcome::Failure),
        (_, 0) if is_probe && (visible || is_to_service(contact) && contact.target.port < EPHEMERAL) => {
            Said::Wait(Outcome::Failure)
        }
        (_, packets) if is_probe && packets > 0 && flagged(received, RST) == packets => Said::Over(Outcome::Failure),
        _ => Said::Nothing,
    }
}

/// Whether a datagram without an answer may be a question: where answers are not seen, what comes from the lower port is rather
/// an answer itself.
fn is_question(contact: &Contact<'_>, visible: bool) -> bool {
    let (from, to) = (contact.source.port, contact.target.port);
    if visible { from >= 1024 || to < 1024 } else { is_to_service(contact) }
}

/// Whether it goes from the higher port to the lower, as what a client sends does.
const fn is_to_service(contact: &Contact<'_>) -> bool {
    contact.source.port > contact.target.port
}

impl Attempt {
    /// Whether nobody can say what it led to, as it may belong to a connection of before and its answer would not be seen: a probe
    /// that a connection is still there looks like this too. It is evidence where a source has many to different ports of a host,
    /// and nowhere else.
    pub(super) const fn is_doubtful(&self) -> bool {
        self.is_stray && self.has_ack && !self.visible
    }
}
