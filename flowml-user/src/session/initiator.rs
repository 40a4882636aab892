//! Who opened a session: the one rule for records and host windows, and the evidence that decided.

use std::net::IpAddr;

use flowml_common::flow::{ACK, Address, FlowKey, FlowStats, RST, SYN};
use flowml_common::headers::protocol;
use flowml_common::packet::{Sender, icmp_answer, is_icmp_error, is_icmp_question};
use flowml_common::quote::Quote;
use serde::{Deserialize, Serialize};

use super::bit;
use super::services::{is_service, is_service_to};

/// What shows who opened a session, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// One side alone sent a SYN without ACK: it opened the session.
    Syn,
    /// One side alone sent a SYN with ACK: it is the responder.
    SynAck,
    /// The ICMP type: who asks opened the session, and who answers is the responder.
    IcmpType,
    /// Of an ICMP error, the flow that it quotes.
    IcmpError,
    /// The session continues one that ended, with packets that open none.
    Continues,
    /// One of the two ports is that of a service.
    ServicePort,
    /// None of these: who was seen first.
    FirstPacket,
}

impl Evidence {
    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::SynAck => "syn_ack",
            Self::IcmpType => "icmp_type",
            Self::IcmpError => "icmp_error",
            Self::Continues => "continues",
            Self::ServicePort => "service_port",
            Self::FirstPacket => "first_packet",
        }
    }
}

/// Who opened a session, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initiator {
    /// The end of the key that did.
    pub sender: Sender,
    /// What shows it.
    pub by: Evidence,
}

/// By which rule initiators are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitiatorRule {
    /// By the strongest evidence that there is.
    #[default]
    Evidence,
    /// By the first packet of each record, as NFStream does it.
    FirstPacket,
}

/// What is known of the initiator besides what the packets of the record say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Who opened the session that this one continues, or the record before.
    pub(super) earlier: Option<Sender>,
    /// Of an ICMP error, which of its ends opened the flow that it quotes.
    pub(super) quoted: Option<Sender>,
}

impl Initiator {
    /// The initiator of a flow of which nothing is known but its packets.
    #[must_use]
    pub fn of(key: &FlowKey, stats: &FlowStats) -> Self {
        Self::known(key, stats, Known::default())
    }

    /// The initiator by the strongest evidence. A group of hosts opens nothing, so evidence for one is none.
    pub(super) fn known(key: &FlowKey, stats: &FlowStats, known: Known) -> Self {
        type Rule<'a> = (Evidence, &'a dyn Fn() -> Option<Sender>);
        let rules: [Rule<'_>; 6] = [
            (Evidence::Syn, &|| alone(syn_senders(stats).0)),
            (Evidence::SynAck, &|| alone(syn_senders(stats).1).map(Sender::opposite)),
            (Evidence::IcmpType, &|| asking(key)),
            (Evidence::IcmpError, &|| known.quoted),
            (Evidence::Continues, &|| known.earlier),
            (Evidence::ServicePort, &|| client(key)),
        ];
        let found = rules.into_iter().find_map(|(by, rule)| {
            let sender = rule().filter(|sender| !is_group(key.endpoint(*sender).address))?;
            Some(Self { sender, by })
        });
        found.unwrap_or_else(|| Self::first(stats))
    }

    /// Who was seen first.
    pub(super) const fn first(stats: &FlowStats) -> Self {
        Self { sender: opener(stats), by: Evidence::FirstPacket }
    }
}

const fn opener(stats: &FlowStats) -> Sender {
    if stats.opener == Sender::Lower as u8 { Sender::Lower } else { Sender::Upper }
}

/// Who sent SYN without ACK, and who sent SYN with ACK alone. Of an end that sent both the first counts.
fn syn_senders(stats: &FlowStats) -> ([bool; 2], [bool; 2]) {
    let bare = [0, 1].map(|sender| stats.syn_senders >> sender & 1 == 1);
    let any = stats.directions.each_ref().map(|direction| direction.flags[bit(SYN)] > 0);
    (bare, [any[0] && !bare[0], any[1] && !bare[1]])
}

/// The one of both that is set, by [`Sender`].
const fn alone(senders: [bool; 2]) -> Option<Sender> {
    match senders {
        [true, false] => Some(Sender::Lower),
        [false, true] => Some(Sender::Upper),
        _ => None,
    }
}

/// Who asks, where the key is of ICMP questions and their answers.
fn asking(key: &FlowKey) -> Option<Sender> {
    let ends = [Sender::Lower, Sender::Upper];
    alone(ends.map(|end| key.is_icmp_exchange() && is_icmp_question(key.protocol(), key.endpoint(end).port as u8)))
}

/// The end that is no service, where the other is one.
fn client(key: &FlowKey) -> Option<Sender> {
    if key.later_fragment() {
        return None;
    }
    let [lower, upper] = [Sender::Lower, Sender::Upper].map(|end| key.endpoint(end).port);
    alone([is_service_to(key.protocol(), upper, lower), is_service_to(key.protocol(), lower, upper)])
}

/// Whether many hosts may have the address, so that none can have sent from it.
fn is_group(address: Address) -> bool {
    let ip = address.to_ip();
    ip.is_multicast() || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}

/// Which end of a flow of ICMP errors they inform; `None` of another flow.
pub(crate) const fn informed(key: &FlowKey, stats: &FlowStats) -> Option<Sender> {
    let sender = opener(stats);
    let is_error = !key.later_fragment() && is_icmp_error(key.protocol(), key.endpoint(sender).port as u8);
    if is_error { Some(sender.opposite()) } else { None }
}

/// Whether the host that was informed of an error opened the flow that the error quotes, by the quoted packet, which it
/// sent. Without evidence it did.
pub(super) fn informed_opened(quote: &Quote) -> bool {
    match quote.protocol {
        protocol::TCP => match quote.tcp_flags {
            Some(flags) if flags & SYN != 0 => flags & ACK == 0,
            // Who resets a connection at once was asked for one.
            Some(flags) if flags & RST != 0 => false,
            _ => !serves(quote),
        },
        protocol::ICMP | protocol::ICMPV6 => {
            let kind = quote.source as u8;
            is_icmp_question(quote.protocol, kind) || icmp_answer(quote.protocol, kind).is_none()
        }
        _ => !serves(quote),
    }
}

/// Whether the port from which the quoted packet was sent is that of a service, and the other is not.
fn serves(quote: &Quote) -> bool {
    is_service(quote.protocol, quote.source) && !is_service(quote.protocol, quote.destination.port)
}

#[cfg(test)]
mod tests {
    use flowml_common::flow::Endpoint;

    use super::*;

    #[test]
    fn the_quoted_packet_says_who_opened_the_quoted_flow() {
        let (tcp, udp) = (protocol::TCP, protocol::UDP);
        let cases = [
            (tcp, 40_000, 80, Some(SYN), true),
            (tcp, 80, 40_000, Some(SYN), true),
            (tcp, 40_000, 50_000, Some(SYN | ACK), false),
            (tcp, 40_000, 50_000, Some(RST | ACK), false),
            (tcp, 80, 40_000, Some(ACK), false),
            (tcp, 40_000, 80, Some(ACK), true),
            (tcp, 40_000, 50_000, None, true),
            (tcp, 443, 40_000, None, false),
            (udp, 53, 40_000, None, false),
            (udp, 40_000, 33_434, None, true),
            (udp, 123, 123, None, true),
            (protocol::ICMP, 8, 0, None, true),
            (protocol::ICMP, 0, 8, None, false),
            (protocol::ICMPV6, 129, 128, None, false),
            (protocol::ICMP, 40, 1, None, true),
            (47, 0, 0, None, true),
        ];
        for (protocol, source, destination, tcp_flags, expected) in cases {
            let destination = Endpoint { address: Address::from_v4(1), port: destination };
            let quote = Quote { protocol, source, destination, tcp_flags };
            assert_eq!(informed_opened(&quote), expected, "{quote:?}");
        }
    }
}
