//! Slow connections: many that one source keeps open to one service by next to nothing.
//!
//! Source: what slowloris, slow POST and slow read do (E. Cambiaso, G. Papaleo, G. Chiola, M. Aiello, "Slow DoS attacks: definition
//! and categorisation", Int. J. Trust Management in Computing and Communications 1, 2013).
//! What counts: a connection that is three seconds old, to which the server has sent no payload while the client went on with
//! at most 64 bytes at a time, or whose client began with a receive window that takes no whole segment of Ethernet (RFC 9293,
//! section 3.8.6: a receiver offers a segment, or nothing; Linux gives 1,152 bytes to who asks for the smallest buffer,
//! `SOCK_MIN_RCVBUF`). A request that waits for its answer does not count, as nothing goes on: what tells a pool of workers,
//! keep-alive connections and WebSockets from an attack is that what their clients send is answered. Where the server is not
//! seen, a client has been answered if it acknowledges: each answer that is not followed by a request at once gives one segment
//! with ACK and without payload (delayed acknowledgements of RFC 9293, at most half a second), so more than one for two
//! drips are answers.
//! A connection that the server ended, after no more than drips, counts for another minute if its client goes on with a drip as if
//! nothing had happened: it waits for no answer, and the server gave its request up.
//! Parameters and bound: an ordinary client has at most eight such connections to a service at once on average (browsers open six);
//! that a Poisson number of that mean reaches 32 has a probability below 10⁻⁹.
//! Limits: many clients behind one address that send a few bytes now and then, each over a connection that is never answered (remote
//! sensors), look the same.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use ahash::RandomState;
use flowml_common::flow::{Address, FIN, FlowKey, RST, SYN};
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

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

/// For so long a connection counts that the server ended, ns.
const GIVEN_UP_NS: u64 = 60_000_000_000;

/// A receive window below a segment of Ethernet (1,500 bytes less the headers of IPv4 and TCP).
const NARROW: u16 = 1460;

#[derive(Serialize, Deserialize)]
struct Watched {
    source: Address,
    target: Address,
    port: u16,
    first_ns: u64,
    last_ns: u64,
    /// Parts in which the client went on with a few bytes.
    drips: u32,
    /// Segments of the client without payload, but for those of the handshake.
    acknowledgements: u64,
    is_server_seen: bool,
    /// Its SYN was seen.
    is_whole: bool,
    is_narrow: bool,
    is_counted: bool,
    stage: Stage,
}

/// How far a watched connection is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The server waits for the rest of the request.
    Open,
    /// The server has ended it, perhaps with a few words.
    Ended,
    /// It has, and the client went on nevertheless.
    GivenUp,
}

/// What a part makes of a watched connection.
enum Next {
    Watch,
    Forget,
}

impl Watched {
    fn new(contact: &Contact<'_>, is_narrow: bool) -> Self {
        let Contact { sent, .. } = contact;
        Self {
            source: contact.source.address,
            target: contact.target.address,
            port: contact.target.port,
            first_ns: contact.first_ns(),
            last_ns: contact.last_ns(),
            // What one that was there before begins with is no beginning.
            drips: u32::from(!contact.opened && sent.payload_bytes > 0),
            acknowledgements: acknowledgements(contact).saturating_sub(u64::from(contact.opened)),
            is_server_seen: contact.answered,
            is_whole: contact.opened,
            is_narrow,
            is_counted: false,
            stage: Stage::Open,
        }
    }

    fn go_on(&mut self, contact: &Contact<'_>) -> Next {
        let Contact { sent, received, .. } = contact;
        let ends = |direction| flagged(direction, FIN) + flagged(direction, RST) > 0;
        let most = if self.drips == 0 { BEGIN } else { DRIP };
        let is_served = !self.is_narrow && received.payload_bytes > 0 && !ends(received);
        if self.stage == Stage::GivenUp {
            return Next::Watch;
        }
        // A client that takes its leave is no attacker, and neither is one that sends much, or gets an answer.
        let leaves = ends(sent) && !(self.stage == Stage::Ended || ends(received));
        if leaves || is_served || sent.payload_bytes > most {
            return Next::Forget;
        }
        // A probe whether the other end of an old connection is still there has one byte at most.
        let least = if self.is_whole { 0 } else { sent.payload_packets };
        let is_drip = sent.payload_bytes > least;
        self.drips += u32::from(is_drip);
        self.acknowledgements += acknowledgements(contact);
        self.is_server_seen |= contact.answered;
        self.last_ns = contact.last_ns();
        self.stage = match self.stage {
            Stage::Ended if is_drip => Stage::GivenUp,
            Stage::Ended if ends(sent) => return Next::Forget,
            Stage::Open if ends(received) && self.drips > 0 => Stage::Ended,
            _ if ends(received) => return Next::Forget,
            stage => stage,
        };
        Next::Watch
    }

    /// Whether it is one of those that count at `now_ns`.
    fn is_slow(&self, now_ns: u64) -> bool {
        let is_answered = !self.is_server_seen && 2 * self.acknowledgements > u64::from(self.drips);
        let is_old = now_ns.saturating_sub(self.first_ns) >= OLD_NS;
        is_old && self.stage != Stage::Ended && (self.is_narrow || self.drips >= 2 && !is_answered)
    }

    fn is_gone(&self, now_ns: u64) -> bool {
        let patience_ns = if self.stage == Stage::Open { GONE_NS } else { GIVEN_UP_NS };
        self.last_ns.saturating_add(patience_ns) <= now_ns
    }
}

/// Segments of a client without payload, but for its SYN.
fn acknowledgements(Contact { sent, .. }: &Contact<'_>) -> u64 {
    sent.packets.saturating_sub(sent.payload_packets + flagged(sent, SYN))
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Slow {
    connections: HashMap<FlowKey, Watched, RandomState>,
}

impl Slow {
    pub(super) fn observe(&mut self, contact: &Contact<'_>) {
        if contact.protocol != protocol::TCP {
            return;
        }
        let Contact { sent, received, .. } = contact;
        let key = contact.part.key;
        // A session that was silent for longer than the idle timeout begins again.
        let goes_on = || self.connections.contains_key(&key);
        if contact.new && (contact.opened || !goes_on()) {
            let is_over = [FIN, RST].iter().any(|flag| flagged(sent, *flag) + flagged(received, *flag) > 0);
            let is_narrow = contact.opened && sent.window < NARROW && established(sent);
            // One that was there before the meter shows itself by its first drip.
            let most = if contact.opened { BEGIN } else { DRIP };
            let is_quiet = received.payload_bytes == 0 && sent.payload_bytes <= most;
            let is_there = contact.opened || sent.payload_bytes > sent.payload_packets;
            let has_room = self.connections.len() < CONNECTIONS;
            let is_watched = is_there && !is_over && (is_narrow || is_quiet);
            match self.connections.entry(key) {
                Entry::Occupied(mut entry) if is_watched => *entry.get_mut() = Watched::new(contact, is_narrow),
                Entry::Occupied(entry) => drop(entry.remove()),
                Entry::Vacant(entry) if is_watched && has_room => drop(entry.insert(Watched::new(contact, is_narrow))),
                Entry::Vacant(_) => {}
            }
            return;
        }
        if self.connections.is_empty() {
            return;
        }
        let Some(watched) = self.connections.get_mut(&key) else { return };
        if matches!(watched.go_on(contact), Next::Forget) {
            self.connections.remove(&key);
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
            let &mut Watched { source, target, port, first_ns, last_ns, .. } = watched;
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
