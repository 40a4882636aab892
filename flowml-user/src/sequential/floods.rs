//! Floods: more traffic that a victim does not answer or did not request than ever before.
//!
//! | kind | what counts | normal rate, per second | source |
//! | --- | --- | ---: | --- |
//! | `syn_flood` | connections that were opened and not completed | 70, twice the victim's own mean, or 0.35 of the completed ones | H. Wang, D. Zhang, K. G. Shin, "Detecting SYN flooding attacks", INFOCOM 2002: a = 0.35 of the completed ones, h = 2a; 0.35 of at least 200, the rate from which Junos' screens take SYNs for a flood. Attempts of a scan count from 2,048 per second, half the longest backlog of Linux (net.core.somaxconn) |
//! | `udp_flood` | unanswered datagrams; where answers are not seen, new flows | 500, or twice the own mean | half of the 1,000 from which Junos' screens take datagrams for a flood |
//! | `icmp_flood` | echo requests, answered or not | 500, or twice the own mean | as above |
//! | `reflection` | packets from service ports, and SYN with ACK, to hosts that sent no request | 25, or twice the own mean; 200 where requests are not seen, except for answers to ports that no client uses | late answers are few; the own mean as in Wang et al. |
//! | `http_flood` | completed connections | 200, or twice the own mean | as for SYN |
//!
//! Bound: 10⁻⁶ for each victim and interval, if arrivals are no burstier than Poisson trains of 16 at the normal rate
//! or less. Attacks on a /24 (IPv4) or /64 (IPv6) are detected by the same tests on the network.
//!
//! A high rate alone is no evidence in some cases (`udp_flood` in one flow, `http_flood`). There, the history of a
//! victim that was present when the meter started is first learnt for ten seconds.
//!
//! While the rate at a host or network is normal, the first 25 completed connections of an interval (an eighth of the floor)
//! are counted without their parties. A flood has many more, and its finding names the parties of the others.
//!
//! Limits: a service whose rate suddenly more than doubles and exceeds 200 per second is reported as flooded, whoever
//! its clients are. A flood in one flow of a protocol that is rarely answered (UDP) is not detected where answers are
//! not seen.

use flowml_common::flow::{Address, Endpoint, FlowKey};
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::attempts::{Attempt, Outcome};
use super::contact::{Contact, DNS, is_unicast};
use super::finding::Finding;
use super::gauge::{Event, Gauges, Rule};
use super::kind::Kind;
use crate::features::Generations;

const SYN: Rule = Rule { kind: Kind::SynFlood, floor: 70.0, needs_past: false };
const SCAN: Rule = Rule { kind: Kind::SynFlood, floor: 2048.0, needs_past: false };
const UDP: Rule = Rule { kind: Kind::UdpFlood, floor: 500.0, needs_past: true };
const ICMP: Rule = Rule { kind: Kind::IcmpFlood, floor: 500.0, needs_past: false };
const HTTP: Rule = Rule { kind: Kind::HttpFlood, floor: 200.0, needs_past: true };
const UNASKED: Rule = Rule { kind: Kind::Reflection, floor: 25.0, needs_past: false };
const ANSWERS: Rule = Rule { kind: Kind::Reflection, floor: 200.0, needs_past: true };

/// Flows of unrequested answers in a generation.
const FLOWS: usize = 1 << 16;

/// Services that answer without a connection (IANA) and are abused for it (US-CERT alert TA14-017A and its updates; IKE
/// by CERT/CC VU#419128, which answers from 500 and 4500 by RFC 7296, section 2).
const SERVICES: [u16; 24] = [
    17, 19, 53, 69, 111, 123, 137, 161, 389, 427, 500, 520, 623, 1434, 1900, 3283, 3478, 3702, 4500, 5353, 5683, 10001,
    11211, 37810,
];

/// The gauges of all kinds.
#[derive(Serialize, Deserialize)]
pub(super) struct Floods {
    syn: Gauges,
    /// For attempts of scans.
    scan: Gauges,
    udp: Gauges,
    icmp: Gauges,
    http: Gauges,
    /// For answers where requests would have been seen.
    unasked: Gauges,
    /// For answers where requests would not have been seen.
    answers: Gauges,
    flows: Generations<FlowKey, ()>,
    /// The first host that sent to a socket.
    sockets: Generations<Endpoint, Address>,
}

impl Floods {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            syn: Gauges::new(SYN, seed),
            scan: Gauges::new(SCAN, seed),
            udp: Gauges::new(UDP, seed),
            icmp: Gauges::new(ICMP, seed),
            http: Gauges::new(HTTP, seed),
            unasked: Gauges::new(UNASKED, seed),
            answers: Gauges::new(ANSWERS, seed),
            flows: Generations::new(FLOWS),
            sockets: Generations::new(FLOWS),
        }
    }

    pub(super) fn observe(&mut self, contact: &Contact<'_>, visible: bool) {
        if contact.is_echo() && contact.sent.packets > 0 && is_unicast(contact.target.address) {
            self.icmp.add(&event(contact, contact.source, contact.target, 0, contact.sent.packets));
        }
        if contact.protocol == protocol::UDP {
            self.datagrams(contact, visible);
        }
    }

    fn datagrams(&mut self, contact: &Contact<'_>, visible: bool) {
        let (from, to) = match [contact.sent.packets, contact.received.packets] {
            [_, 0] => (contact.source, contact.target),
            [0, _] => (contact.target, contact.source),
            _ => return,
        };
        if !is_unicast(to.address) {
            return;
        }
        if contact.is_fragment() {
            let gauges = [&mut self.unasked, &mut self.answers].into_iter().find_map(|gauges| {
                let is_known = gauges.knows(to.address);
                is_known.then_some(gauges)
            });
            let packets = contact.partial.stats.packets();
            match gauges {
                // A resolver requests answers that need no fragments (EDNS0 of 1,232 bytes).
                Some(gauges) => gauges.add(&Event { spread: packets, ..event(contact, from, to, 0, packets) }),
                None if visible => self.udp.add(&event(contact, from, to, 0, packets)),
                None => {}
            }
        } else if is_answer(from, to) {
            self.answer(contact, [from, to], visible);
        } else if from.address == contact.source.address && !contact.answered {
            let count = if visible { contact.sent.packets } else { u64::from(contact.new) };
            self.udp.add(&event(contact, from, to, to.port, count));
        }
    }

    /// Adds datagrams of a service. They are unrequested if the flow begins with them and continues without a request.
    fn answer(&mut self, contact: &Contact<'_>, [from, to]: [Endpoint; 2], visible: bool) {
        let (key, first_ns) = (contact.partial.key, contact.first_ns());
        if contact.new {
            self.flows.entry(key, first_ns, || ());
        } else if self.flows.is_empty() || self.flows.get_mut(&key).is_none() {
            return;
        }
        let answer = event(contact, from, to, from.port, contact.partial.stats.packets());
        if visible || is_no_client(to) {
            self.unasked.add(&answer);
            return;
        }
        // A host may query hundreds of name servers per second, each from a new socket. It does so with no other
        // service. Many answers from port 53 to new sockets are therefore no evidence on their own.
        let first = *self.sockets.entry(to, first_ns, || from.address);
        let is_fresh = from.port == DNS && first == from.address;
        self.answers.add(&Event { spread: if is_fresh { 0 } else { answer.packets }, ..answer });
    }

    /// Adds an attempt with an outcome.
    pub(super) fn attempt(&mut self, attempt: &Attempt, is_scan: bool) {
        let &Attempt { at_ns, source, target, port, protocol, packets, bytes, .. } = attempt;
        let event = Event {
            victim: target,
            source,
            protocol,
            port,
            count: packets.max(1),
            spread: 0,
            packets,
            bytes,
            first_ns: at_ns,
            last_ns: at_ns,
        };
        match (protocol, attempt.outcome) {
            (protocol::TCP, Outcome::Failure | Outcome::HalfOpen) if is_scan => self.scan.add(&event),
            (protocol::TCP, Outcome::Failure | Outcome::HalfOpen) if attempt.is_doubtful() => {}
            (protocol::TCP, Outcome::Failure | Outcome::HalfOpen) => self.syn.add(&event),
            (protocol::TCP, Outcome::Success) => self.http.add(&Event { count: 1, ..event }),
            (protocol::TCP, Outcome::Unasked) => {
                let answer = Event { victim: source, source: target, port, ..event };
                self.unasked.add(&answer);
            }
            // Unanswered flows are counted one by one: no collector of logs or flow records has many.
            (protocol::UDP, Outcome::Failure) if attempt.visible && !is_scan => {
                self.udp.add(&Event { count: 0, spread: 1, packets: 0, bytes: 0, ..event });
            }
            _ => {}
        }
    }

    /// Whether pings to a host are a flood.
    pub(super) fn is_icmp_flood(&mut self, target: Address) -> bool {
        self.icmp.is_flood(target)
    }

    pub(super) fn interval(&mut self, began_ns: u64, now_ns: u64, seconds: f64) -> Vec<Finding> {
        self.syn.take_answers(&self.http);
        let all = [
            &mut self.syn,
            &mut self.scan,
            &mut self.udp,
            &mut self.icmp,
            &mut self.http,
            &mut self.unasked,
            &mut self.answers,
        ];
        all.into_iter().flat_map(|gauges| gauges.interval(began_ns, now_ns, seconds)).collect()
    }
}

fn event(contact: &Contact<'_>, from: Endpoint, to: Endpoint, port: u16, count: u64) -> Event {
    // Pings may be answered in the same partial flow.
    let sent = if from == contact.source { contact.sent } else { contact.received };
    Event {
        victim: to.address,
        source: from.address,
        protocol: contact.protocol,
        port,
        count,
        spread: 0,
        packets: sent.packets,
        bytes: sent.ip_bytes,
        first_ns: contact.first_ns(),
        last_ns: contact.last_ns(),
    }
}

/// Whether the ports are those of a datagram from a service to a client.
fn is_answer(from: Endpoint, to: Endpoint) -> bool {
    let of_service = SERVICES.contains(&from.port) && !SERVICES.contains(&to.port);
    of_service || from.port < 1024 && to.port >= 1024 && !SERVICES.contains(&to.port)
}

/// Whether no client sends from this port, because it is a system port (RFC 6335), which services use.
fn is_no_client(to: Endpoint) -> bool {
    to.port < 1024
}
