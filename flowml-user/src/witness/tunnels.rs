//! Tunnels: other traffic in questions about names, and in pings.
//!
//! Source: what the tools have in common by G. Farnham, A. Atlasis, "Detecting DNS tunneling", SANS 2013 (long names, many of them),
//! and of pings D. Singh, V. Kumar, "ICMP tunneling", as sequential tests.
//! What counts, for each pair of hosts: a question to port 53 is long if its packet is longer than the longest that protocols make
//! by themselves ([`LONGEST_ORDINARY`]); a ping is large above 128 bytes (ping sends 60 or 84 by default).
//! Parameters: of ordinary questions at most one in twenty is long, of a tunnel's three in ten; ordinary are at most five large pings a second.
//! Bound: 10⁻⁶ for each walk over questions, and for each interval of pings that come one by one.
//! Limits: a tunnel that only receives has short questions. Questions over TLS or HTTPS are not seen.

use flowml_common::flow::Address;
use flowml_common::headers::protocol;

use super::contact::Contact;
use super::sequential::{ALPHA, Cusum, Hypotheses, Stand, Walk};
use super::{Evidence, Finding, Kind, Party};
use crate::features::Generations;

const LONG: Hypotheses = Hypotheses { ordinary: 0.05, attack: 0.3 };

/// Pairs of a generation.
const PAIRS: usize = 1 << 15;

/// Bytes of the longest IPv4 packet with a question that protocols make by themselves: headers of IP, UDP and DNS of 20, 8 and 12,
/// the name that belongs to an IPv6 address, which has 72 characters (RFC 3596), in 74, its type and class in 4 (RFC 1035), an OPT
/// record of 11 (RFC 6891) with the cookies of client and server in 28 (RFC 7873, RFC 9018).
const LONGEST_ORDINARY: u64 = 20 + 8 + 12 + 74 + 4 + 11 + 28;

/// Bytes of the header of IPv6 beyond that of IPv4.
const BEYOND_V4: u64 = 20;

/// Bytes of a large ping.
const LARGE_PING: u64 = 128;

/// Large pings that are ordinary, a second.
const PINGS: f64 = 5.0;

/// Questions of one part that count one by one: those of one socket depend on each other.
const TRIALS: u64 = 4;

/// DNS.
const DOMAIN: u16 = 53;

#[derive(Default)]
struct Pair {
    walk: Walk,
    pings: Cusum,
    /// Large pings of this interval.
    count: u64,
    is_tunnel: bool,
    evidence: Evidence,
    first_ns: u64,
    last_ns: u64,
}

/// Source, target and protocol.
type Key = (Address, Address, u8);

pub(super) struct Tunnels {
    pairs: Generations<Key, Pair>,
}

impl Tunnels {
    pub(super) fn new() -> Self {
        Self { pairs: Generations::new(PAIRS) }
    }

    /// Takes a part; pings of a flood do not count.
    pub(super) fn observe(&mut self, contact: &Contact<'_>, is_flood: bool) {
        let sent = contact.sent;
        let is_question = contact.target.port == DOMAIN && contact.protocol == protocol::UDP && !contact.is_fragment();
        if sent.packets == 0 || !(is_question || contact.is_echo() && !is_flood) {
            return;
        }
        let mean = sent.ip_bytes / sent.packets;
        let is_v6 = !contact.target.address.to_ip().is_ipv4();
        let is_long = mean > LONGEST_ORDINARY + u64::from(is_v6) * BEYOND_V4;
        if !is_question && mean < LARGE_PING {
            return;
        }
        let key = (contact.source.address, contact.target.address, contact.protocol);
        let pair = self.pairs.entry(key, contact.first_ns(), Pair::default);
        if pair.first_ns == 0 {
            pair.first_ns = contact.first_ns();
        }
        if is_question {
            for _ in 0..sent.packets.min(TRIALS) {
                match pair.walk.step(LONG, is_long) {
                    Stand::Attack => pair.is_tunnel = true,
                    Stand::Undecided => {}
                    Stand::Ordinary => {
                        *pair = Pair { first_ns: contact.first_ns(), ..Pair::default() };
                    }
                }
            }
        } else {
            pair.count += sent.packets;
        }
        if is_long || !is_question {
            pair.last_ns = pair.last_ns.max(contact.last_ns());
            pair.evidence.add(&Evidence {
                protocol: contact.protocol,
                port: if is_question { DOMAIN } else { 0 },
                packets: sent.packets,
                bytes: sent.ip_bytes,
                ..Evidence::default()
            });
        }
    }

    pub(super) fn findings(&mut self, seconds: f64) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (&(source, target, protocol), pair) in self.pairs.iter_mut() {
            if protocol != protocol::UDP {
                let count = std::mem::take(&mut pair.count);
                let is_tunnel = pair.pings.step_one_by_one(count as f64, seconds, PINGS);
                pair.is_tunnel = is_tunnel || pair.is_tunnel && !pair.pings.is_at_rest();
                if pair.pings.is_at_rest() {
                    (pair.evidence, pair.first_ns) = (Evidence::default(), 0);
                }
            }
            if pair.is_tunnel && pair.evidence.packets > 0 {
                findings.push(Finding {
                    kind: Kind::Tunnel,
                    sources: Party::of(source),
                    targets: Party::of(target),
                    evidence: std::mem::take(&mut pair.evidence),
                    start_ns: pair.first_ns,
                    end_ns: pair.last_ns,
                    bound: ALPHA,
                });
            }
        }
        findings.sort_by_key(|finding| (finding.start_ns, finding.sources.named.clone()));
        findings
    }
}
