//! Tunnels: other traffic inside DNS queries and pings.
//!
//! Source: the common traits of tunnel tools by G. Farnham, A. Atlasis, "Detecting DNS tunneling", SANS 2013 (long
//! names, many of them), by W. Ellens, P. Żuraniewski, A. Sperotto, H. Schotanus, M. Mandjes, E. Meeuwissen,
//! "Flow-based detection of DNS tunnels", AIMS 2013 (many long queries in one flow), and for pings by D. Singh, V.
//! Kumar, "ICMP tunneling", as sequential tests.
//!
//! Counted events, for each pair of hosts:
//!
//! - A query to port 53 is long if its packet is longer than the longest query that protocols generate
//!   ([`LONGEST_ORDINARY`]).
//! - A socket continues if it has had an answer and sends queries again in a later interval, whose names are on average
//!   longer than the longest name of an IPv4 address ([`LONG_TALK`]). A resolver uses a new port for each query (RFC 5452
//!   §9.2). The few that use one port for all queries ask for normal names on average.
//! - A ping is large from 128 bytes on (ping sends 60 or 84 by default). Its answer counts too.
//!
//! Parameters: at most one in twenty normal queries is long, and three in ten queries of a tunnel. A socket continues
//! with long names in at most half of the intervals with queries, and in 0.9 of them with a tunnel. At most five large
//! pings per second are normal.
//!
//! Bound: 10⁻⁶ for each walk over queries or intervals, and for each interval of independent pings. 24 intervals in a
//! row in which a socket continues are a tunnel.
//!
//! Limits: a tunnel with short queries through the resolver of its host looks like other queries. A forwarder that
//! queries only long names over one socket, second after second (in a cloud, for example), looks like a tunnel. Queries
//! over TLS or HTTPS are not seen.

use flowml_common::flow::{Address, Direction};
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::contact::{Contact, DNS};
use super::finding::{Finding, Party};
use super::kind::{Evidence, Kind};
use super::walk::{ALPHA, Cusum, Hypotheses, Stand, Walk};
use crate::features::Generations;

const LONG: Hypotheses = Hypotheses { normal: 0.05, attack: 0.3 };

/// The event that a socket continues with long names in an interval.
const GOES_ON: Hypotheses = Hypotheses { normal: 0.5, attack: 0.9 };

/// Pairs in a generation.
const PAIRS: usize = 1 << 15;

/// Bytes of the longest IPv4 packet with a query that protocols generate: headers of IP, UDP and DNS of 20, 8 and 12;
/// the name of an IPv6 address with 72 characters (RFC 3596) in 74; its type and class in 4 (RFC 1035); an OPT record
/// of 11 (RFC 6891) with the cookies of client and server in 28 (RFC 7873, RFC 9018).
const LONGEST_ORDINARY: u64 = 20 + 8 + 12 + 74 + 4 + 11 + 28;

/// Bytes of an IPv4 packet with the longest name of an IPv4 address (28 characters, RFC 1035, in 30) and an OPT record.
const LONG_TALK: u64 = 20 + 8 + 12 + 30 + 4 + 11;

/// Difference between the lengths of the IPv6 and the IPv4 header, bytes.
const BEYOND_V4: u64 = 20;

/// The smallest size of a large ping, bytes.
const LARGE_PING: u64 = 128;

/// The normal rate of large pings, per second.
const PINGS: f64 = 5.0;

/// The largest number of queries in a partial flow that count individually. Queries of one socket depend on each other.
const TRIALS: u64 = 4;

/// The counts of one test, and whether it found a tunnel.
#[derive(Default, Serialize, Deserialize)]
struct Counted {
    is_tunnel: bool,
    evidence: Evidence,
    first_ns: u64,
    last_ns: u64,
}

impl Counted {
    /// Counts what one side of a flow sent.
    fn add(&mut self, contact: &Contact<'_>, sent: &Direction, port: u16) {
        if self.first_ns == 0 {
            self.first_ns = contact.first_ns();
        }
        self.last_ns = self.last_ns.max(contact.last_ns());
        let (protocol, packets, bytes) = (contact.protocol, sent.packets, sent.ip_bytes);
        self.evidence.add(&Evidence { protocol, port, packets, bytes, ..Evidence::default() });
    }

    fn finding(&mut self, [source, target]: [Address; 2]) -> Option<Finding> {
        (self.is_tunnel && self.evidence.packets > 0).then(|| Finding {
            kind: Kind::Tunnel,
            sources: Party::of(source),
            targets: Party::of(target),
            evidence: std::mem::take(&mut self.evidence),
            start_ns: self.first_ns,
            end_ns: self.last_ns,
            bound: ALPHA,
        })
    }
}

/// A walk over the queries of one host to another, with its counts. Most hosts send no long queries, so their entry is
/// small and stays in the cache.
#[derive(Default, Serialize, Deserialize)]
struct Test {
    walk: Walk,
    counted: Option<Box<Counted>>,
}

impl Test {
    fn step(&mut self, of: Hypotheses, is_evidence: bool) {
        match self.walk.step(of, is_evidence) {
            Stand::Attack => self.counted().is_tunnel = true,
            Stand::Undecided => {}
            Stand::Normal => self.counted = None,
        }
    }

    fn counted(&mut self) -> &mut Counted {
        self.counted.get_or_insert_default()
    }

    fn finding(&mut self, ends: [Address; 2]) -> Option<Finding> {
        self.counted.as_mut()?.finding(ends)
    }
}

/// The queries of one host to another.
#[derive(Default, Serialize, Deserialize)]
struct Questions {
    /// The walk over long queries.
    long: Test,
    /// The walk over intervals in which a socket continues.
    talk: Test,
    /// Bytes of all queries of this interval, and of those of sockets that continue.
    bytes: u64,
    talk_bytes: u64,
}

impl Questions {
    /// Adds the queries of a partial flow, whose mean size is `mean` bytes.
    fn ask(&mut self, contact: &Contact<'_>, mean: u64, visible: bool) {
        let beyond = if contact.target.address.to_ip().is_ipv4() { 0 } else { BEYOND_V4 };
        let is_long = mean > LONGEST_ORDINARY + beyond;
        (0..contact.sent.packets.min(TRIALS)).for_each(|_| self.long.step(LONG, is_long));
        if is_long {
            self.long.counted().add(contact, contact.sent, DNS);
        }
        // A query that is repeated for lack of an answer is the same query.
        let had_answer = contact.answered || !visible;
        self.bytes += contact.sent.ip_bytes;
        if !contact.new && had_answer && mean > LONG_TALK + beyond {
            self.talk_bytes += contact.sent.ip_bytes;
            self.talk.counted().add(contact, contact.sent, DNS);
        }
    }

    fn interval(&mut self) {
        if self.bytes > 0 {
            self.talk.step(GOES_ON, 2 * self.talk_bytes >= self.bytes);
            (self.bytes, self.talk_bytes) = (0, 0);
        }
    }

    fn finding(&mut self, ends: [Address; 2]) -> Option<Finding> {
        // Both are taken, so that neither reports the same traffic later.
        let (long, talk) = (self.long.finding(ends), self.talk.finding(ends));
        long.or(talk)
    }
}

/// The large pings of one host to another.
#[derive(Default, Serialize, Deserialize)]
struct Pings {
    change: Cusum,
    /// Number of large pings in this interval.
    count: u64,
    counted: Counted,
}

impl Pings {
    fn interval(&mut self, seconds: f64) {
        let count = std::mem::take(&mut self.count);
        let is_tunnel = self.change.step_one_by_one(count as f64, seconds, PINGS);
        self.counted.is_tunnel = is_tunnel || self.counted.is_tunnel && !self.change.is_at_rest();
        if self.change.is_at_rest() {
            self.counted = Counted::default();
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Tunnels {
    questions: Generations<[Address; 2], Questions>,
    /// The pairs with queries in this interval. The others do not change.
    asked: Vec<[Address; 2]>,
    /// Pairs with some evidence of a tunnel in pings.
    pings: Generations<[Address; 2], Pings>,
}

impl Tunnels {
    pub(super) fn new() -> Self {
        Self { questions: Generations::new(PAIRS), asked: Vec::new(), pings: Generations::new(PAIRS) }
    }

    /// Adds a partial flow. `visible` is whether answers would be seen.
    pub(super) fn observe(&mut self, contact: &Contact<'_>, visible: bool) {
        let is_question = contact.target.port == DNS && contact.protocol == protocol::UDP && !contact.is_fragment();
        let ends = [contact.source.address, contact.target.address];
        let mean = |sent: &Direction| sent.ip_bytes.checked_div(sent.packets);
        if contact.is_echo() {
            // An answer has as many bytes as its request (RFC 792), which may not have been seen.
            let sent = if contact.sent.packets > 0 { contact.sent } else { contact.received };
            if mean(sent).is_some_and(|mean| mean >= LARGE_PING) {
                let pings = self.pings.entry(ends, contact.first_ns(), Pings::default);
                pings.count += sent.packets;
                pings.counted.add(contact, sent, 0);
            }
        } else if is_question && let Some(mean) = mean(contact.sent) {
            let questions = self.questions.entry(ends, contact.first_ns(), Questions::default);
            if questions.bytes == 0 {
                self.asked.push(ends);
            }
            questions.ask(contact, mean, visible);
        }
    }

    /// Ends an interval and returns its findings. Pings to a host under an ICMP flood are ignored.
    pub(super) fn findings(&mut self, seconds: f64, mut is_flooded: impl FnMut(Address) -> bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ends in self.asked.drain(..) {
            if let Some(questions) = self.questions.get_mut(&ends) {
                questions.interval();
                findings.extend(questions.finding(ends));
            }
        }
        for (ends, pings) in self.pings.iter_mut() {
            if is_flooded(ends[1]) {
                *pings = Pings::default();
            }
            pings.interval(seconds);
            findings.extend(pings.counted.finding(*ends));
        }
        self.pings.retain(|_, pings| !pings.change.is_at_rest());
        findings.sort_by_key(|finding| (finding.start_ns, finding.sources.named.clone()));
        findings
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::sequential::samples::{assert_bounded, poisson, simulated};

    /// One query in twenty is long, and a socket continues in every second interval: the worst case that is still
    /// normal.
    #[test]
    fn false_alarms_for_queries_of_normal_hosts_stay_within_the_bound() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let (mut long, mut talk, questions) = (0, 0, 60);
        for _ in 0..simulated() {
            let mut asked = Questions::default();
            for _ in 0..questions {
                asked.long.step(LONG, random.gen_bool(0.05));
                (asked.bytes, asked.talk_bytes) = (100, if random.gen_bool(0.5) { 100 } else { 0 });
                asked.interval();
                long += u64::from(std::mem::take(&mut asked.long.counted().is_tunnel));
                talk += u64::from(std::mem::take(&mut asked.talk.counted().is_tunnel));
            }
        }
        // A walk has at least one step.
        assert_bounded("long questions", long, 1e-6 * (simulated() * questions) as f64);
        assert_bounded("sockets that go on", talk, 1e-6 * (simulated() * questions) as f64);
    }

    #[test]
    fn false_alarms_for_large_pings_of_normal_hosts_stay_within_the_bound() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
        let (mut alarms, seconds) = (0, 50);
        for _ in 0..simulated() {
            let mut pings = Pings::default();
            let is_tunnel = (0..seconds).any(|_| {
                pings.count = poisson(&mut random, PINGS);
                pings.interval(1.0);
                pings.counted.is_tunnel
            });
            alarms += u64::from(is_tunnel);
        }
        assert_bounded("large pings", alarms, 1e-6 * (simulated() * seconds) as f64);
    }
}
