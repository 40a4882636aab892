//! Slow connections: many that one source keeps open to one service by next to nothing.
//!
//! Source: what slowloris, slow POST and slow read do (E. Cambiaso, G. Papaleo, G. Chiola, M. Aiello, "Slow DoS attacks: definition
//! and categorisation", Int. J. Trust Management in Computing and Communications 1, 2013).
//! What counts: a connection that is open for three seconds, to which the server has sent no payload while the client went on with
//! at most 64 bytes at a time, or whose client began with a receive window below the smallest segment size that every host takes
//! (536 bytes, RFC 9293). A request that waits for its answer does not count, as nothing goes on.
//! Parameters and bound: an ordinary client has at most eight such connections to a service at once on average (browsers open six);
//! that a Poisson number of that mean reaches 32 has a probability below 10⁻⁹.
//! Limits: where the server is not seen, many clients behind one address that send a few bytes now and then over a connection each
//! look the same.

use std::collections::{BTreeMap, HashMap};

use ahash::RandomState;
use flowml_common::flow::{Address, FIN, FlowKey, RST};
use flowml_common::headers::protocol;

use super::contact::{Contact, established, flagged};
use super::{Evidence, Finding, Kind, Party};

/// Connections that are watched.
const CONNECTIONS: usize = 1 << 16;

/// So many at once are an attack.
const MANY: u64 = 32;

/// The probability that ordinary ones are so many.
const BOUND: f64 = 1e-9;

/// How old a connection is that counts, ns.
const OLD_NS: u64 = 3_000_000_000;

/// After so long without a packet a connection is forgotten, ns.
const GONE_NS: u64 = 120_000_000_000;

/// Most that a client goes on with, bytes of payload in a part.
const DRIP: u64 = 64;

/// Most that it begins with.
const BEGIN: u64 = 1024;

/// A receive window below the smallest segment size.
const NARROW: u16 = 536;

struct Watched {
    source: Address,
    target: Address,
    port: u16,
    first_ns: u64,
    last_ns: u64,
    drips: u32,
    /// Its SYN was seen.
    is_whole: bool,
    is_narrow: bool,
    is_counted: bool,
}

#[derive(Default)]
pub(super) struct Slow {
    connections: HashMap<FlowKey, Watched, RandomState>,
}

impl Slow {
    pub(super) fn observe(&mut self, contact: &Contact<'_>) {
        if contact.protocol != protocol::TCP {
            return;
        }
        let Contact { sent, received, .. } = contact;
        let is_over = [FIN, RST].iter().any(|flag| flagged(sent, *flag) + flagged(received, *flag) > 0);
        let key = contact.part.key;
        // A session that was silent for longer than the idle timeout begins again.
        let goes_on = !contact.opened && self.connections.contains_key(&key);
        if contact.new && !goes_on {
            let is_narrow = contact.opened && sent.window < NARROW && established(sent);
            // One that was there before the meter shows itself by its first drip.
            let most = if contact.opened { BEGIN } else { DRIP };
            let is_quiet = received.payload_bytes == 0 && sent.payload_bytes <= most;
            let is_there = contact.opened || sent.payload_bytes > sent.payload_packets;
            if is_there && !is_over && (is_narrow || is_quiet) && self.connections.len() < CONNECTIONS {
                self.connections.insert(
                    key,
                    Watched {
                        source: contact.source.address,
                        target: contact.target.address,
                        port: contact.target.port,
                        first_ns: contact.first_ns(),
                        last_ns: contact.last_ns(),
                        drips: 0,
                        is_whole: contact.opened,
                        is_narrow,
                        is_counted: false,
                    },
                );
            }
            return;
        }
        if self.connections.is_empty() {
            return;
        }
        let Some(watched) = self.connections.get_mut(&key) else { return };
        let most = if watched.drips == 0 { BEGIN } else { DRIP };
        let is_served = !watched.is_narrow && received.payload_bytes > 0;
        if is_over || is_served || sent.payload_bytes > most {
            self.connections.remove(&key);
            return;
        }
        watched.last_ns = contact.last_ns();
        // A probe whether the other end of an old connection is still there has one byte at most.
        let least = if watched.is_whole { 0 } else { sent.payload_packets };
        watched.drips += u32::from(sent.payload_bytes > least);
    }

    /// Counts the connections of each source to each service at the end of an interval.
    pub(super) fn findings(&mut self, now_ns: u64) -> Vec<Finding> {
        self.connections.retain(|_, watched| watched.last_ns.saturating_add(GONE_NS) > now_ns);
        let mut pairs: BTreeMap<(Address, Address, u16), (u64, Finding)> = BTreeMap::new();
        for watched in self.connections.values_mut() {
            let &mut Watched { source, target, port, first_ns, last_ns, drips, is_narrow, .. } = watched;
            if now_ns.saturating_sub(first_ns) < OLD_NS || !(is_narrow || drips >= 2) {
                continue;
            }
            let nothing = || Finding {
                kind: Kind::SlowConnections,
                sources: Party::of(source),
                targets: Party::of(target),
                evidence: Evidence { protocol: protocol::TCP, port, ..Evidence::default() },
                start_ns: first_ns,
                end_ns: last_ns,
                bound: BOUND,
            };
            let (count, finding) = pairs.entry((source, target, port)).or_insert_with(|| (0, nothing()));
            *count += 1;
            finding.evidence.attempts += u64::from(!watched.is_counted);
            watched.is_counted = true;
            finding.start_ns = finding.start_ns.min(first_ns);
            finding.end_ns = finding.end_ns.max(last_ns);
        }
        pairs.retain(|_, (count, _)| *count >= MANY);
        // Those of pairs that are no attack yet are counted when it is one.
        for watched in self.connections.values_mut() {
            watched.is_counted &= pairs.contains_key(&(watched.source, watched.target, watched.port));
        }
        pairs.into_values().map(|(_, finding)| finding).collect()
    }
}
