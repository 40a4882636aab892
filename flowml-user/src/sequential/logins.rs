//! Password guessing: similar connections of one source to one service, one after the other.
//!
//! Source: the sequential test of Jung et al. (see `scans`) on other events. These distinguish guesses from logins in
//! flow records by A. Sperotto, R. Sadre, P. de Boer, A. Pras, "Hidden Markov model modeling of SSH brute-force
//! attacks", DSOM 2009, and R. Hofstede, L. Hendriks, A. Sperotto, A. Pras, "SSH compromise detection using
//! NetFlow/IPFIX", ACM CCR 44, 2014: attempts are short, close in time, and nearly equal in size ("flat traffic").
//!
//! Counted events: a TCP connection that its ends closed within a minute, in which the client sent little data in at
//! least two packets. The server must have sent first, or the client's first packet was hardly more than a greeting. A
//! client that begins with a request (HTTP, TLS, DNS) does not count. Where the server is not seen, the ports of login
//! services are used instead. Port 25 is excluded, because mail servers have such connections with each other.
//!
//! Parameters: of normal connections at most half begin within two seconds of the previous one and differ from its size
//! by at most a third; of guesses 0.9. (Connections of one attacker have different numbers of tries; two and three
//! tries differ by a third.) Of normal connections at most one in five (θ₀ of Jung et al.) is as similar and begins
//! before the previous one has ended; of guesses of several tasks 0.9.
//!
//! Bound: 10⁻⁶ for each walk. 24 in a row are an attack, or ten at the same time.
//!
//! Limits: an application looks the same if it opens a connection for each small exchange of one size, several times a
//! minute, or more than ten at once (a database without a pool, or with a pool that lasts less than a minute). Guesses
//! over HTTP or TLS, and those more than two seconds apart, are not detected.

use flowml_common::flow::{Address, Direction, FIN, RST, SYN};
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::changed::Changed;
use super::contact::flagged;
use super::finding::{Finding, Party};
use super::kind::{Evidence, Kind};
use super::walk::{ALPHA, Hypotheses, Stand, Walk};
use crate::features::Generations;
use crate::session::{EndReason, Ended};

const ALIKE: Hypotheses = Hypotheses { normal: 0.5, attack: 0.9 };

/// Similar connections at the same time.
const PARALLEL: Hypotheses = Hypotheses { normal: 0.2, attack: 0.9 };

/// Pairs of a source and a service in a generation.
const PAIRS: usize = 1 << 14;

/// The longest time between the starts of two attempts, ns.
const APART_NS: u64 = 2_000_000_000;

/// The longest attempt, ns. OpenSSH's LoginGraceTime is two minutes, and an attack tool is faster than a person.
const LONGEST_NS: u64 = 60_000_000_000;

/// The most payload that a client sends in an attempt, bytes. An SSH handshake with a few passwords takes 3,000.
const MOST_BYTES: u64 = 8192;

/// The longest first packet of a client that is a greeting, bytes of payload. The identification of SSH has at most 255
/// bytes, and rarely more than 64.
const GREETING: u16 = 64;

/// Login services in which the server sends first, or both do: FTP, SSH, Telnet, POP3, IMAP, submission, VNC, RDP.
const SERVICES: [u16; 8] = [21, 22, 23, 110, 143, 587, 3389, 5900];

#[derive(Default, Serialize, Deserialize)]
struct Pair {
    alike: Walk,
    parallel: Walk,
    is_attack: bool,
    /// Start, ns, and size of the previous attempt.
    before: Option<(u64, u64)>,
    /// The latest end of an attempt.
    until_ns: u64,
    attempts: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
}

/// Source, target and port.
type Key = (Address, Address, u16);

#[derive(Serialize, Deserialize)]
pub(super) struct Logins {
    pairs: Generations<Key, Pair>,
    changed: Changed<Key>,
}

impl Logins {
    pub(super) fn new() -> Self {
        Self { pairs: Generations::new(PAIRS), changed: Changed::default() }
    }

    /// Adds sessions that have ended, in any order.
    pub(super) fn observe(&mut self, ended: &[Ended]) {
        let attempt = |ended| Some((Attempt::of(ended)?, ended));
        let mut attempts: Vec<_> = ended.iter().filter_map(attempt).collect();
        attempts.sort_by_key(|(attempt, ended)| (attempt.first_ns, ended.key));
        for (attempt, ended) in attempts {
            let [source, target] =
                [ended.initiator.sender, ended.initiator.sender.opposite()].map(|end| ended.key.endpoint(end));
            self.attempt(&attempt, (source.address, target.address, target.port));
        }
    }

    fn attempt(&mut self, attempt: &Attempt, key: Key) {
        let pair = self.pairs.entry(key, attempt.first_ns, Pair::default);
        if pair.attempts == 0 {
            pair.first_ns = attempt.first_ns;
        }
        pair.attempts += 1;
        pair.bytes += attempt.bytes;
        pair.last_ns = pair.last_ns.max(attempt.last_ns);
        let Some((before_ns, before)) = pair.before.replace((attempt.first_ns, attempt.size)) else {
            pair.until_ns = attempt.last_ns;
            return;
        };
        let near = attempt.first_ns.abs_diff(before_ns) <= APART_NS;
        let alike = attempt.size.abs_diff(before) * 3 <= attempt.size.max(before);
        let overlaps = attempt.first_ns < pair.until_ns;
        pair.until_ns = pair.until_ns.max(attempt.last_ns);
        let parallel = pair.parallel.step(PARALLEL, overlaps && alike);
        match pair.alike.step(ALIKE, near && alike) {
            Stand::Attack => pair.is_attack = true,
            Stand::Undecided => pair.is_attack |= parallel == Stand::Attack,
            Stand::Normal => {
                let (before, until_ns) = (Some((attempt.first_ns, attempt.size)), pair.until_ns);
                *pair = Pair { before, until_ns, ..Pair::default() };
            }
        }
        if pair.is_attack {
            self.changed.add(key);
        }
    }

    pub(super) fn findings(&mut self) -> Vec<Finding> {
        let pairs = &mut self.pairs;
        let finding = |(source, target, port): Key| {
            let pair = pairs.get_mut(&(source, target, port)).filter(|pair| pair.is_attack && pair.attempts > 0)?;
            let evidence = Evidence {
                protocol: protocol::TCP,
                port,
                attempts: std::mem::take(&mut pair.attempts),
                bytes: std::mem::take(&mut pair.bytes),
                ..Evidence::default()
            };
            Some(Finding {
                kind: Kind::BruteForce,
                sources: Party::of(source),
                targets: Party::of(target),
                evidence,
                start_ns: pair.first_ns,
                end_ns: pair.last_ns,
                bound: ALPHA,
            })
        };
        self.changed.take().filter_map(finding).collect()
    }
}

/// A connection that may be a login attempt.
struct Attempt {
    first_ns: u64,
    last_ns: u64,
    /// Payload bytes of the client.
    size: u64,
    bytes: u64,
}

impl Attempt {
    fn of(ended: &Ended) -> Option<Self> {
        if ended.key.protocol() != protocol::TCP || ended.continues {
            return None;
        }
        let stats = &ended.stats;
        let [client, server] =
            [ended.initiator.sender, ended.initiator.sender.opposite()].map(|end| stats.direction(end));
        let port = ended.key.endpoint(ended.initiator.sender.opposite()).port;
        // Where only the client is seen, its FIN or RST is the end, and the session has ended by silence.
        let is_half = server.packets == 0 && flagged(client, FIN) + flagged(client, RST) > 0;
        let is_closed = ended.reason == EndReason::EndOfFlow || is_half;
        let is_whole = is_closed && flagged(client, SYN) > 0 && port != 25;
        let is_short =
            stats.last_ns.saturating_sub(stats.first_ns()) <= LONGEST_NS && client.payload_bytes <= MOST_BYTES;
        let is_dialogue = client.payload_packets >= 2;
        (is_whole && is_short && is_dialogue && is_of_login(ended, server, port)).then(|| Self {
            first_ns: stats.first_ns(),
            last_ns: stats.last_ns,
            size: client.payload_bytes,
            bytes: client.ip_bytes + server.ip_bytes,
        })
    }
}

/// Whether the server or the client begins with a greeting.
fn is_of_login(ended: &Ended, server: &Direction, port: u16) -> bool {
    if server.packets == 0 {
        return SERVICES.contains(&port);
    }
    if server.payload_packets < 2 {
        return false;
    }
    let firsts = &ended.stats.firsts;
    let first = (0..firsts.count).find(|packet| firsts.payload >> packet & 1 == 1);
    first.is_some_and(|packet| {
        let by_client = (firsts.upper >> packet & 1) == ended.initiator.sender as u8;
        // The IP and TCP headers take 40 to 80 bytes.
        !by_client || firsts.length[usize::from(packet)] <= GREETING + 60
    })
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::sequential::samples::{SECOND, assert_bounded, simulated};

    /// One connection in five begins before the previous one has ended and is like it: the worst case that is still
    /// normal.
    #[test]
    fn false_alarms_for_connections_at_the_same_time_stay_within_the_bound() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
        let mut logins = Logins::new();
        let (mut alarms, dialogues) = (0, 40);
        let mut first_ns = SECOND;
        for host in 0..simulated() {
            let key = (Address::from_v4(0x0b00_0000 + host as u32), Address::from_v4(1), 22);
            for _ in 0..dialogues {
                first_ns += if random.gen_bool(0.2) { SECOND / 2 } else { 5 * SECOND };
                let attempt = Attempt { first_ns, last_ns: first_ns + SECOND, size: 1000, bytes: 1000 };
                logins.attempt(&attempt, key);
            }
            alarms += logins.findings().len() as u64;
        }
        // Each connection may begin a walk.
        assert_bounded("logins at the same time", alarms, 1e-6 * (simulated() * dialogues) as f64);
    }

    /// Several tasks of an attacker, each with a few tries in one connection.
    #[test]
    fn a_few_guesses_at_the_same_time_are_an_attack() {
        let guesses = |step_ns: u64| {
            let mut logins = Logins::new();
            let key = (Address::from_v4(7), Address::from_v4(1), 21);
            for n in 0..12 {
                let first_ns = SECOND + n * step_ns;
                let size = 1000 + 84 * (n % 3);
                logins.attempt(&Attempt { first_ns, last_ns: first_ns + 5 * SECOND, size, bytes: size }, key);
            }
            logins.findings().len()
        };
        assert_eq!((guesses(SECOND / 100), guesses(6 * SECOND)), (1, 0));
    }

    /// Half of the connections are similar to the previous one and close in time: the worst case that is still normal.
    #[test]
    fn false_alarms_for_connections_of_normal_hosts_stay_within_the_bound() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut logins = Logins::new();
        let (mut alarms, dialogues) = (0, 40);
        let mut first_ns = 0;
        for host in 0..simulated() {
            let key = (Address::from_v4(0x0b00_0000 + host as u32), Address::from_v4(1), 22);
            let mut size = 1000;
            for _ in 0..dialogues {
                let is_alike = random.gen_bool(0.5);
                first_ns += if is_alike { SECOND } else { 5 * SECOND };
                size = if is_alike { size } else { 3000 - size };
                logins.attempt(&Attempt { first_ns, last_ns: first_ns, size, bytes: size }, key);
            }
            alarms += logins.findings().len() as u64;
        }
        // A walk that ends for the null hypothesis has at least three steps.
        assert_bounded("logins", alarms, 1e-6 * (simulated() * dialogues / 3) as f64);
    }
}
