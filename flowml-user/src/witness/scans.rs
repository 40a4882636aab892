//! Scans: threshold random walks on the outcomes of first contacts.
//!
//! Source: J. Jung, V. Paxson, A. W. Berger, H. Balakrishnan, "Fast portscan detection using sequential hypothesis testing",
//! IEEE Symposium on Security and Privacy 2004. Their walk is over the hosts that a source contacts first; here there is one for
//! each port of a source (hosts) and one for each pair of hosts (ports), since who scans tries one thing on many, and a
//! peer-to-peer client does not.
//! Parameters: of an ordinary host at most half of the first contacts fail (θ₀ = 0.5; the paper has 0.2, which peer-to-peer
//! clients are above), of a scanner 0.9. What was contacted before says nothing, so a server that is down is one failure.
//! A long datagram is no probe, whatever comes back.
//! A host that gets SYN with ACK from many, which lead to no connection, did not ask for them: the same walk over its connections is a
//! test for reflection.
//! Bound: 10⁻⁶ for each walk, of which one may begin with each first contact; 24 failures in a row are a scan.

use std::collections::HashSet;

use ahash::RandomState;
use flowml_common::flow::Address;
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::attempts::{Attempt, Outcome};
use super::news::News;
use super::sequential::{ALPHA, Hypotheses, Stand, Walk};
use super::{Evidence, Finding, Kind, Party};
use crate::features::{GENERATION_NS, Generations};

const FAILURES: Hypotheses = Hypotheses { ordinary: 0.5, attack: 0.9 };

/// Contacts of a generation that are remembered, 8 bytes each.
const CONTACTS: usize = 1 << 18;

/// Walks of a generation, of either kind.
const WALKS: usize = 1 << 16;

/// Longest datagram that asks whether somebody listens, bytes of IP: scanners send empty ones, but to the few ports whose service
/// answers a question alone (nmap-payloads).
const LONGEST_PROBE: u64 = 128;

/// How often a scanner tries the same, at most: nmap's --max-retries is 10 by default, of which it uses few.
pub const REPEATS: u64 = 10;

/// What a walk is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Of {
    /// The ports of one host.
    Ports { source: Address, target: Address, protocol: u8 },
    /// The hosts with one port.
    Hosts { source: Address, port: u16, protocol: u8 },
    /// The hosts that answer one that did not ask.
    Answers { victim: Address },
}

#[derive(Default, Serialize, Deserialize)]
struct Scan {
    walk: Walk,
    is_scan: bool,
    /// Whether it is among those to be reported.
    is_news: bool,
    first_ns: u64,
    last_ns: u64,
    contacts: u64,
    failures: u64,
    /// Contacts, and others with what was contacted before, since it is a scan.
    attempts: u64,
    /// How many of them were reported.
    reported: [u64; 2],
    /// Hosts that were tried, the first of them.
    targets: Party,
}

/// The hash of contacts, by a secret that is kept with them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
struct Secret {
    words: [u64; 4],
    state: RandomState,
}

impl From<[u64; 4]> for Secret {
    fn from(words: [u64; 4]) -> Self {
        let [a, b, c, d] = words;
        Self { words, state: RandomState::with_seeds(a, b, c, d) }
    }
}

impl From<Secret> for [u64; 4] {
    fn from(secret: Secret) -> Self {
        secret.words
    }
}

/// The walks of all sources.
#[derive(Serialize, Deserialize)]
pub(super) struct Scans {
    contacts: Generations<u64, ()>,
    secret: Secret,
    walks: Generations<Of, Scan>,
    /// Walks that have found a scan, and perhaps some that are forgotten. Mostly there is none, and an attempt needs no look-up.
    found: HashSet<Of, RandomState>,
    news: News<Of>,
}

impl Scans {
    pub(super) fn new() -> Self {
        Self {
            contacts: Generations::new(CONTACTS),
            secret: Secret::from(rand::random::<[u64; 4]>()),
            walks: Generations::new(2 * WALKS),
            found: HashSet::default(),
            news: News::default(),
        }
    }

    pub(super) fn observe(&mut self, attempt: &Attempt) {
        let &Attempt { source, target, port, protocol, outcome, at_ns, visible, .. } = attempt;
        let contact = self.secret.state.hash_one((source, target, port, protocol));
        let mut is_first = false;
        self.contacts.entry(contact, at_ns, || is_first = true);
        if !is_first {
            return;
        }
        self.step(Of::Answers { victim: source }, target, at_ns, outcome == Outcome::Unasked);
        let failed = match outcome {
            Outcome::Success | Outcome::HalfOpen | Outcome::Probe => false,
            Outcome::Failure => true,
            Outcome::Unasked => return,
        };
        if protocol == protocol::UDP && attempt.bytes > LONGEST_PROBE * attempt.packets {
            return;
        }
        if protocol == protocol::TCP || protocol == protocol::UDP {
            self.step(Of::Ports { source, target, protocol }, target, at_ns, failed);
        }
        // A question to each of many servers is no scan where their answers are not seen.
        if protocol == protocol::TCP && !attempt.is_doubtful() || visible || !failed {
            self.step(Of::Hosts { source, port, protocol }, target, at_ns, failed);
        }
    }

    /// Takes a contact. A walk may begin with each, and one that begins with a success is over: it need not be kept.
    fn step(&mut self, of: Of, target: Address, at_ns: u64, failed: bool) {
        if !failed && self.walks.get(&of).is_none() {
            return;
        }
        let scan = self.walks.entry(of, at_ns, Scan::default);
        if scan.is_scan && at_ns.saturating_sub(scan.last_ns) > GENERATION_NS {
            *scan = Scan::default();
        }
        // What went before the evidence is no part of it.
        if scan.walk.is_at_start() {
            scan.first_ns = at_ns;
        }
        scan.last_ns = scan.last_ns.max(at_ns);
        scan.contacts += 1;
        scan.failures += u64::from(failed);
        scan.targets.name(target);
        match scan.walk.step(FAILURES, failed) {
            Stand::Attack if !scan.is_scan => {
                scan.is_scan = true;
                self.found.insert(of);
            }
            Stand::Attack | Stand::Undecided => {}
            // What was not reported of a scan that is over never is.
            Stand::Ordinary => {
                self.walks.remove(&of);
                return;
            }
        }
        // What a scanner does besides is no part of the scan.
        if scan.is_scan && failed && !scan.is_news {
            scan.is_news = true;
            self.news.add(of);
        }
    }

    /// Whether an attempt is one of a scan, and so no part of a flood. Who tries the same again and again does not scan.
    pub(super) fn is_scan(&mut self, attempt: &Attempt) -> bool {
        if self.found.is_empty() {
            return false;
        }
        let &Attempt { source, target, port, protocol, .. } = attempt;
        [Of::Ports { source, target, protocol }, Of::Hosts { source, port, protocol }].iter().any(|of| {
            let scan = self.found.get(of).and_then(|of| self.walks.get_mut(of)).filter(|scan| scan.is_scan);
            scan.is_some_and(|scan| {
                scan.attempts += 1;
                scan.attempts <= REPEATS * scan.contacts
            })
        })
    }

    /// What is new of all scans.
    pub(super) fn findings(&mut self) -> Vec<Finding> {
        // No more walks than these are kept.
        if self.found.len() > 4 * WALKS {
            self.found.retain(|of| self.walks.get(of).is_some_and(|scan| scan.is_scan));
        }
        self.news.take().filter_map(|of| self.finding(of)).collect()
    }

    fn finding(&mut self, of: Of) -> Option<Finding> {
        let scan = self.walks.get_mut(&of)?;
        scan.is_news = false;
        if !scan.is_scan {
            return None;
        }
        let totals = [scan.contacts, scan.failures];
        let [attempts, failures] = [0, 1].map(|n| totals[n] - scan.reported[n]);
        scan.reported = totals;
        let evidence = Evidence { attempts, failures, ..Evidence::default() };
        let many = Party { count: scan.contacts as usize, ..scan.targets.clone() };
        let (kind, sources, targets, evidence) = match of {
            Of::Ports { source, target, protocol } => {
                (Kind::PortScan, Party::of(source), Party::of(target), Evidence { protocol, ..evidence })
            }
            Of::Hosts { source, port, protocol } => {
                let port = if protocol == protocol::TCP || protocol == protocol::UDP { port } else { 0 };
                (Kind::HostScan, Party::of(source), many, Evidence { protocol, port, ..evidence })
            }
            Of::Answers { victim } => {
                (Kind::Reflection, many, Party::of(victim), Evidence { protocol: protocol::TCP, ..evidence })
            }
        };
        Some(Finding { kind, sources, targets, evidence, start_ns: scan.first_ns, end_ns: scan.last_ns, bound: ALPHA })
    }
}
