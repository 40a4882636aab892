//! The initiator of a session: one rule for records and host windows, and the evidence that determined it.

use std::net::IpAddr;

use flowml_common::flow::{ACK, Address, FlowKey, FlowStats, RST, SYN, Sender};
use flowml_common::headers::protocol;
use flowml_common::icmp::{icmp_answer, is_icmp_error, is_icmp_question};
use flowml_common::quote::Quote;
use serde::{Deserialize, Serialize};

use super::connection::bit;
use super::services::{is_service, is_service_to};

/// The evidence for an initiator, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// Only one side sent a SYN without ACK: it is the initiator.
    Syn,
    /// Only one side sent a SYN with ACK: it is the responder.
    SynAck,
    /// The ICMP type: the sender of requests is the initiator, and the sender of replies is the responder.
    IcmpType,
    /// The flow that an ICMP error quotes.
    IcmpError,
    /// The session continues an ended one, with packets that do not open a connection.
    Continues,
    /// Only one of the two ports is the port of a service.
    ServicePort,
    /// None of these: the sender of the first packet.
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

/// The initiator of a session, by the evidence so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initiator {
    /// The initiating endpoint of the flow key.
    pub sender: Sender,
    /// The evidence.
    pub by: Evidence,
}

/// The rule that determines initiators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitiatorRule {
    /// The strongest available evidence.
    #[default]
    Evidence,
    /// The first packet of each record, as in NFStream.
    FirstPacket,
}

/// Evidence that is not in the packets of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The initiator of the continued session, or of the previous record.
    pub(super) earlier: Option<Sender>,
    /// For an ICMP error, the endpoint that opened the quoted flow.
    pub(super) quoted: Option<Sender>,
}

impl Initiator {
    /// The initiator of a flow, only from its packets.
    #[must_use]
    pub fn of(key: &FlowKey, stats: &FlowStats) -> Self {
        Self::known(key, &Signs::of(stats), Known::default())
    }

    /// The initiator by the strongest evidence. A multicast or broadcast address is never an initiator, so evidence for
    /// one is ignored.
    pub(super) fn known(key: &FlowKey, signs: &Signs, known: Known) -> Self {
        type Rule<'a> = (Evidence, &'a dyn Fn() -> Option<Sender>);
        let rules: [Rule<'_>; 6] = [
            (Evidence::Syn, &|| alone(signs.syns)),
            (Evidence::SynAck, &|| alone(signs.syn_acks).map(Sender::opposite)),
            (Evidence::IcmpType, &|| asking(key)),
            (Evidence::IcmpError, &|| known.quoted),
            (Evidence::Continues, &|| known.earlier),
            (Evidence::ServicePort, &|| client(key)),
        ];
        let found = rules.into_iter().find_map(|(by, rule)| {
            let sender = rule().filter(|sender| !is_group(key.endpoint(*sender).address))?;
            Some(Self { sender, by })
        });
        found.unwrap_or_else(|| Self::first(signs))
    }

    /// The sender of the first packet.
    pub(super) const fn first(signs: &Signs) -> Self {
        Self { sender: signs.first, by: Evidence::FirstPacket }
    }
}

/// What the packets of a flow show about its initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signs {
    /// The sender of the first packet.
    first: Sender,
    /// The senders of a SYN without ACK.
    syns: [bool; 2],
    /// The senders of only SYNs with ACK.
    syn_acks: [bool; 2],
}

impl Signs {
    /// From the fields of [`FlowStats`], and whether each endpoint sent a SYN of any kind.
    pub(super) const fn new(first_sender: u8, syn_senders: u8, [lower, upper]: [bool; 2]) -> Self {
        let syns = [syn_senders & 1 == 1, syn_senders >> 1 & 1 == 1];
        Self { first: sender(first_sender), syns, syn_acks: [lower && !syns[0], upper && !syns[1]] }
    }

    pub(super) const fn of(stats: &FlowStats) -> Self {
        let [lower, upper] = &stats.directions;
        let any = [lower.flags[bit(SYN)] > 0, upper.flags[bit(SYN)] > 0];
        Self::new(stats.first_sender, stats.syn_senders, any)
    }
}

const fn sender(number: u8) -> Sender {
    if number == Sender::Lower as u8 { Sender::Lower } else { Sender::Upper }
}

/// The only sender that is set; `None` if no sender or both senders are set.
const fn alone(senders: [bool; 2]) -> Option<Sender> {
    match senders {
        [true, false] => Some(Sender::Lower),
        [false, true] => Some(Sender::Upper),
        _ => None,
    }
}

/// The sender of requests, if the messages are ICMP requests and replies.
fn asking(key: &FlowKey) -> Option<Sender> {
    let ends = [Sender::Lower, Sender::Upper];
    alone(ends.map(|end| key.is_icmp_exchange() && is_icmp_question(key.protocol(), key.endpoint(end).port as u8)))
}

/// The endpoint without a service port, if the other has one.
fn client(key: &FlowKey) -> Option<Sender> {
    if key.later_fragment() {
        return None;
    }
    let [lower, upper] = [Sender::Lower, Sender::Upper].map(|end| key.endpoint(end).port);
    alone([is_service_to(key.protocol(), upper, lower), is_service_to(key.protocol(), lower, upper)])
}

/// Whether the address is multicast or broadcast. No host can send from such an address.
fn is_group(address: Address) -> bool {
    let ip = address.to_ip();
    ip.is_multicast() || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}

/// The endpoint that ICMP errors inform. `None` for other flows.
pub(crate) const fn informed(key: &FlowKey, stats: &FlowStats) -> Option<Sender> {
    let sender = sender(stats.first_sender);
    let is_error = !key.later_fragment() && is_icmp_error(key.protocol(), key.endpoint(sender).port as u8);
    if is_error { Some(sender.opposite()) } else { None }
}

/// Whether the informed host opened the quoted flow. The evidence is the quoted packet, which this host sent. True
/// without evidence.
pub(super) fn informed_opened(quote: &Quote) -> bool {
    match quote.protocol {
        protocol::TCP => match quote.tcp_flags {
            Some(flags) if flags & SYN != 0 => flags & ACK == 0,
            // A reset answers a connection attempt of the other host.
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

/// Whether only the source port of the quoted packet is that of a service.
fn serves(quote: &Quote) -> bool {
    is_service(quote.protocol, quote.source) && !is_service(quote.protocol, quote.destination.port)
}

#[cfg(test)]
mod tests {
    use flowml_common::flow::Endpoint;

    use super::*;

    #[test]
    fn the_quoted_packet_determines_the_initiator_of_the_quoted_flow() {
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
