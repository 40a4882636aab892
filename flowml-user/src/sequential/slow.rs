//! Slow connections: one source keeps many connections to one service open with hardly any data.
//!
//! Source: the behaviour of slowloris, slow POST and slow read (E. Cambiaso, G. Papaleo, G. Chiola, M. Aiello, "Slow
//! DoS attacks: definition and categorisation", Int. J. Trust Management in Computing and Communications 1, 2013).
//!
//! Counted events: a connection that is at least three seconds old and meets one of two conditions. Either the server
//! has sent no payload, while the client continued with at most 64 bytes at a time. Or the client's first receive
//! window is smaller than an Ethernet segment. (RFC 9293, section 3.8.6: a receiver offers a segment or nothing. Linux
//! offers 1,152 bytes with the smallest buffer, `SOCK_MIN_RCVBUF`.)
//!
//! A request that waits for its answer does not count, because its client does not continue. Pools of workers,
//! keep-alive connections and WebSockets do not count, because their clients get answers. Where the server is not seen,
//! acknowledgements show that a client got answers. Each answer that no request follows at once causes one segment with
//! ACK and without payload (delayed acknowledgements of RFC 9293, at most half a second). More than one of these for
//! two drips are therefore answers.
//!
//! A connection that the server ended after nothing but drips counts for another minute if its client then sends a
//! drip. Such a client does not wait for an answer, and the server gave up its request.
//!
//! Parameters and bound: a normal client has on average at most eight such connections to a service at once (browsers
//! open six). A Poisson number of that mean reaches 32 with a probability below 10⁻⁹.
//!
//! Limits: many clients behind one address look the same if each sends a few bytes now and then over a connection that
//! is never answered (remote sensors).

use std::collections::BTreeMap;

use ahash::RandomState;
use flowml_common::flow::{Address, FIN, FlowKey, RST};
use flowml_common::headers::protocol;
use indexmap::IndexMap;
use indexmap::map::Entry;
use serde::{Deserialize, Serialize};

use super::contact::{Contact, established, flagged};
use super::finding::{Finding, Party};
use super::kind::{Evidence, Kind};
use super::watched::{BEGIN, DRIP, Next, Watched};

/// The largest number of watched connections.
const CONNECTIONS: usize = 1 << 16;

/// This many connections at once are an attack.
const MANY: u64 = 32;

/// The probability that normal connections are so many.
const BOUND: f64 = 1e-9;

/// Receive windows below this are smaller than an Ethernet segment (1,500 bytes minus the headers of IPv4 and TCP).
const NARROW: u16 = 1460;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Slow {
    connections: IndexMap<FlowKey, Watched, RandomState>,
}

impl Slow {
    pub(super) fn observe(&mut self, contact: &Contact<'_>) {
        if contact.protocol != protocol::TCP {
            return;
        }
        let Contact { sent, received, .. } = contact;
        let key = contact.partial.key;
        // A session that was silent for longer than the idle timeout is reported as new.
        let goes_on = || self.connections.contains_key(&key);
        if contact.new && (contact.opened || !goes_on()) {
            let is_over = [FIN, RST].iter().any(|flag| flagged(sent, *flag) + flagged(received, *flag) > 0);
            let is_narrow = contact.opened && sent.window < NARROW && established(sent);
            // A connection that began before the run is watched from its first small segment on.
            let most = if contact.opened { BEGIN } else { DRIP };
            let is_quiet = received.payload_bytes == 0 && sent.payload_bytes <= most;
            let is_there = contact.opened || sent.payload_bytes > sent.payload_packets;
            let has_room = self.connections.len() < CONNECTIONS;
            let is_watched = is_there && !is_over && (is_narrow || is_quiet);
            if !is_watched {
                self.connections.swap_remove(&key);
                return;
            }
            match self.connections.entry(key) {
                Entry::Occupied(mut entry) => *entry.get_mut() = Watched::new(contact, is_narrow),
                Entry::Vacant(entry) if has_room => drop(entry.insert(Watched::new(contact, is_narrow))),
                Entry::Vacant(_) => {}
            }
            return;
        }
        let Some(watched) = self.connections.get_mut(&key) else { return };
        if matches!(watched.go_on(contact), Next::Forget) {
            self.connections.swap_remove(&key);
        }
    }

    /// Counts the connections of each source to each service at the end of an interval.
    pub(super) fn findings(&mut self, now_ns: u64) -> Vec<Finding> {
        self.connections.retain(|_, watched| !watched.is_gone(now_ns));
        let mut pairs: BTreeMap<(Address, Address, u16), (u64, Finding)> = BTreeMap::new();
        for watched in self.connections.values_mut() {
            if !watched.is_slow(now_ns) {
                continue;
            }
            let key @ (source, target, port) = watched.key();
            let [first_ns, last_ns] = watched.times_ns();
            let nothing = || Finding {
                kind: Kind::SlowConnections,
                sources: Party::of(source),
                targets: Party::of(target),
                evidence: Evidence { protocol: protocol::TCP, port, ..Evidence::default() },
                start_ns: first_ns,
                end_ns: last_ns,
                bound: BOUND,
            };
            let (count, finding) = pairs.entry(key).or_insert_with(|| (0, nothing()));
            *count += 1;
            finding.evidence.attempts += u64::from(!watched.is_counted);
            watched.is_counted = true;
            finding.start_ns = finding.start_ns.min(first_ns);
            finding.end_ns = finding.end_ns.max(last_ns);
        }
        pairs.retain(|_, (count, _)| *count >= MANY);
        // Connections of pairs below the limit are counted again if the pair becomes an attack.
        for watched in self.connections.values_mut() {
            watched.is_counted &= pairs.contains_key(&watched.key());
        }
        pairs.into_values().map(|(_, finding)| finding).collect()
    }
}
