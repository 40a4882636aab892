//! The outcomes of the first packets of flows: connections, and attempts that failed.
//!
//! Outcomes are valid even if only one direction is seen. An initiator that sends ACK has a connection, whether or not
//! the answer was seen. An initiator that sent a SYN and nothing more for a second, the first retransmission timeout
//! (RFC 6298), has none. Then the connection is half open if the responder accepted it; otherwise the attempt has
//! failed.

use ahash::RandomState;
use flowml_common::flow::{ACK, Address, FlowKey, RST, SYN};
use flowml_common::headers::protocol;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::contact::{Contact, established, flagged, goes_on, is_unicast};

/// An attempt without an answer has failed after this time, ns.
const FAILED_NS: u64 = 1_000_000_000;

/// At the end of a run, an attempt has failed after this shorter time, ns: a round trip within a continent.
const FAILED_AT_END_NS: u64 = 50_000_000;

/// The largest number of attempts that wait for an outcome. Further attempts have no outcome.
const PENDING: usize = 1 << 16;

/// Packets with a TTL below this were not meant to arrive. Hosts start with 64, 128 or 255, and paths are shorter than
/// 32 hops. traceroute sends such packets.
const PROBE_TTL: u8 = 32;

/// The lowest port that clients use: 32768 on Linux, 49152 on other systems (RFC 6335).
const EPHEMERAL: u16 = 32_768;

/// Up to this many unanswered datagrams are a request. More are a stream that needs no answer.
const QUESTION: u64 = 2;

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// An answer, or a connection.
    Success,
    /// The responder accepted a SYN, and the initiator did not continue.
    HalfOpen,
    /// The responder accepted a SYN, and the initiator reset the connection: it only checked whether the port is open.
    Probe,
    /// No answer, or a refusal.
    Failure,
    /// A SYN with ACK to a host that sent no SYN.
    Unasked,
}

/// An attempt with an outcome.
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
    /// Whether the attempt is a TCP segment that neither belongs to a known connection nor begins one.
    pub(super) is_stray: bool,
    /// Whether the first segment had ACK.
    pub(super) has_ack: bool,
    /// Packets and IP bytes of the sender.
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// The evidence of a partial flow about an attempt.
enum Sign {
    Over(Outcome),
    /// The outcome if no more packets follow.
    Wait(Outcome),
    /// The partial flow is not an attempt, or shows nothing about its outcome.
    Nothing,
}

/// The attempts that wait for an outcome.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Attempts {
    pending: IndexMap<FlowKey, Attempt, RandomState>,
    over: Vec<Attempt>,
}

impl Attempts {
    /// Adds a partial flow. Returns the attempt whose outcome it shows.
    pub(super) fn observe(&mut self, contact: &Contact<'_>, visible: bool) -> Option<Attempt> {
        if contact.new {
            return self.begin(contact, visible);
        }
        // Most partial flows continue flows with a known outcome.
        if self.pending.is_empty() {
            return None;
        }
        let waiting = self.pending.get_mut(&contact.partial.key)?;
        waiting.packets += contact.sent.packets;
        waiting.bytes += contact.sent.ip_bytes;
        let sign = match (contact.protocol, waiting.outcome) {
            (protocol::TCP, Outcome::Unasked) => of_unasked(contact),
            (protocol::TCP, _) if waiting.is_stray => match flagged(contact.received, RST) {
                0 => Sign::Nothing,
                _ => Sign::Over(Outcome::Failure),
            },
            (protocol::TCP, outcome) => of_syn(contact, outcome),
            _ if contact.answered => Sign::Over(Outcome::Success),
            _ if waiting.packets > QUESTION => Sign::Nothing,
            (_, outcome) => Sign::Wait(outcome),
        };
        match sign {
            Sign::Wait(outcome) => {
                waiting.outcome = outcome;
                None
            }
            Sign::Over(outcome) => {
                self.pending.swap_remove(&contact.partial.key).map(|attempt| Attempt { outcome, ..attempt })
            }
            Sign::Nothing => {
                self.pending.swap_remove(&contact.partial.key);
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
        match sign(contact, visible) {
            Sign::Over(outcome) => Some(attempt(outcome)),
            Sign::Wait(outcome) if self.pending.len() < PENDING => {
                self.pending.insert(contact.partial.key, attempt(outcome));
                None
            }
            // There are too many to wait for. Such numbers occur in a flood, where the present outcome is likely the
            // final one.
            Sign::Wait(outcome) if contact.protocol == protocol::TCP => Some(attempt(outcome)),
            Sign::Wait(_) | Sign::Nothing => None,
        }
    }

    /// Drops the waiting attempts, because answers to them may have been counted without being seen here.
    pub(super) fn look_away(&mut self) {
        self.pending.clear();
    }

    /// The attempts whose waiting time is over, in their order. At the end of a run, the waiting time is shorter.
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

/// The evidence of the first partial flow of a flow.
fn sign(contact: &Contact<'_>, visible: bool) -> Sign {
    let Contact { sent, received, .. } = contact;
    if contact.is_fragment() || !is_unicast(contact.target.address) {
        return Sign::Nothing;
    }
    match contact.protocol {
        protocol::TCP if contact.opened => of_syn(contact, Outcome::Failure),
        protocol::TCP if flagged(received, SYN) > 0 => of_unasked(contact),
        protocol::TCP => of_stray(contact, visible),
        // A datagram that is seen first is no answer to a datagram that was seen.
        protocol::UDP if sent.packets == 0 => Sign::Nothing,
        protocol::UDP if contact.answered => Sign::Over(Outcome::Success),
        protocol::UDP if sent.packets <= QUESTION && sent.ttl_max >= PROBE_TTL && is_question(contact, visible) => {
            Sign::Wait(Outcome::Failure)
        }
        protocol::ICMP | protocol::ICMPV6 if contact.is_echo() => match contact.answered {
            true => Sign::Over(Outcome::Success),
            false if visible && sent.ttl_max >= PROBE_TTL => Sign::Wait(Outcome::Failure),
            false => Sign::Nothing,
        },
        _ => Sign::Nothing,
    }
}

/// For a connection whose SYN was seen and whose outcome so far is `before`.
fn of_syn(Contact { sent, received, .. }: &Contact<'_>, before: Outcome) -> Sign {
    let is_accepted = before == Outcome::HalfOpen || flagged(received, SYN) > 0;
    if established(sent) {
        Sign::Over(Outcome::Success)
    } else if is_accepted && flagged(sent, RST) > 0 {
        Sign::Over(Outcome::Probe)
    } else if is_accepted {
        Sign::Wait(Outcome::HalfOpen)
    } else if flagged(received, RST) > 0 {
        Sign::Over(Outcome::Failure)
    } else {
        Sign::Wait(Outcome::Failure)
    }
}

/// For a connection without a SYN of the initiator but with a SYN-ACK of the responder. If either side continues, there
/// was a SYN.
fn of_unasked(contact: &Contact<'_>) -> Sign {
    if goes_on(contact) { Sign::Over(Outcome::Success) } else { Sign::Wait(Outcome::Unasked) }
}

/// For segments of no connection whose start was seen. All segments of a connection except the first have ACK (RFC
/// 9293), so segments without it are from FIN, NULL and Xmas scans. A segment with ACK and without data is answered
/// with RST if there is no connection, and normally if there is one.
fn of_stray(contact: &Contact<'_>, visible: bool) -> Sign {
    let Contact { sent, received, .. } = contact;
    let flags = |flag| flagged(sent, flag);
    if sent.packets == 0 || flags(SYN) + flags(RST) > 0 {
        return Sign::Nothing;
    }
    let is_probe = sent.packets <= QUESTION && sent.payload_bytes == 0;
    match (flags(ACK), received.packets) {
        (0, _) => Sign::Over(Outcome::Failure),
        (_, 0) if is_probe && (visible || is_to_service(contact) && contact.target.port < EPHEMERAL) => {
            Sign::Wait(Outcome::Failure)
        }
        (_, packets) if is_probe && packets > 0 && flagged(received, RST) == packets => Sign::Over(Outcome::Failure),
        _ => Sign::Nothing,
    }
}

/// Whether an unanswered datagram may be a request. Where answers are not seen, a datagram from the lower port is more
/// likely an answer itself.
fn is_question(contact: &Contact<'_>, visible: bool) -> bool {
    let (from, to) = (contact.source.port, contact.target.port);
    if visible { from >= 1024 || to < 1024 } else { is_to_service(contact) }
}

/// Whether the source port is higher than the target port, as from a client to a service.
const fn is_to_service(contact: &Contact<'_>) -> bool {
    contact.source.port > contact.target.port
}

impl Attempt {
    /// Whether the outcome is uncertain, because the segment may belong to an older connection and its answer would not
    /// be seen. A keep-alive probe looks the same. Such attempts are evidence only if a source sends many of them to
    /// different ports of one host.
    pub(super) const fn is_doubtful(&self) -> bool {
        self.is_stray && self.has_ack && !self.visible
    }
}
