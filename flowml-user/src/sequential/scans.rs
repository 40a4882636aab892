//! Scans: threshold random walks on the outcomes of first contacts.
//!
//! Source: J. Jung, V. Paxson, A. W. Berger, H. Balakrishnan, "Fast portscan detection using sequential hypothesis
//! testing", IEEE Symposium on Security and Privacy 2004. Their walk is over the hosts that a source contacts first.
//! Here there is one walk for each source and port (host scans) and one for each pair of hosts (port scans), because a
//! scanner tries one thing on many, and a peer-to-peer client does not.
//!
//! Parameters: of a normal host at most half of the first contacts fail (θ₀ = 0.5; the paper has 0.2, which
//! peer-to-peer clients exceed), of a scanner 0.9. Repeated contacts are ignored, so a server that is down is one
//! failure. A long datagram is no probe, whatever its answer.
//!
//! Reflection is tested in the same way. A host that gets SYN with ACK from many hosts without a connection did not
//! send the SYNs, so there is a walk over these contacts of each host.
//!
//! Bound: 10⁻⁶ for each walk. Each first contact may begin one. 24 failures in a row are a scan. Contacts and walks are
//! remembered for an hour after their last use, as nmap's slowest timing sends a probe every five minutes. After a scan,
//! its contacts count again once they are five minutes old, so that a repeated scan is found.

use std::collections::HashSet;

use ahash::RandomState;
use flowml_common::flow::Address;
use flowml_common::headers::protocol;
use serde::{Deserialize, Serialize};

use super::attempts::{Attempt, Outcome};
use super::changed::Changed;
use super::finding::{Finding, Named, Party};
use super::kind::{Evidence, Kind};
use super::walk::{ALPHA, Hypotheses, Stand, Walk};
use crate::features::Generations;
use crate::process::secret::Secret;

const FAILURES: Hypotheses = Hypotheses { normal: 0.5, attack: 0.9 };

/// Remembered contacts in a generation, 16 bytes each.
const CONTACTS: usize = 1 << 18;

/// Walks in a generation, for each of the two kinds of scans.
const WALKS: usize = 1 << 16;

/// The longest datagram that is a probe, bytes of IP. Scanners send empty datagrams, except to the few ports whose
/// service only answers a valid request (nmap-payloads).
const LONGEST_PROBE: u64 = 128;

/// The lifetime of a generation, ns, which is also the longest time between two contacts of a scan.
const MEMORY_NS: u64 = 3_600_000_000_000;

/// A scan without contacts for this time is over, ns.
const PAUSE_NS: u64 = 300_000_000_000;

/// A slow scan without contacts for this number of its mean gaps is over.
pub const PERIODS: u64 = 3;

/// The largest number of tries of one scanner at one target. nmap's --max-retries is 10 by default, and it uses few of
/// them.
pub(crate) const REPEATS: u64 = 10;

/// The subject of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Of {
    /// The ports of one host that a source contacts.
    Ports { source: Address, target: Address, protocol: u8 },
    /// The hosts that a source contacts on one port.
    Hosts { source: Address, port: u16, protocol: u8 },
    /// The hosts whose answers a host gets without a request.
    Answers { victim: Address },
}

#[derive(Default, Serialize, Deserialize)]
struct Scan {
    walk: Walk,
    is_scan: bool,
    /// Whether an earlier scan is over.
    was_scan: bool,
    /// Whether the scan is on the list of scans to report.
    is_new: bool,
    first_ns: u64,
    last_ns: u64,
    contacts: u64,
    failures: u64,
    /// Contacts since the scan was found, including repeated ones.
    attempts: u64,
    /// The contacts and failures that were already reported.
    reported: [u64; 2],
    /// The contacted hosts.
    targets: Named,
}

/// A contact of a source with a host.
#[derive(Clone, Copy)]
struct Contacted {
    target: Address,
    at_ns: u64,
    /// Whether the contact is the first with this host within the memory of the test.
    is_first: bool,
    /// The hash of the source.
    walker: u64,
}

/// The sources that may have a walk, by hash. Most sources have none, and then a successful contact needs no look-up of
/// walks. It is derived from the walks.
#[derive(Default)]
struct Walkers {
    bits: Vec<u64>,
    /// The turn of the walks since which it was derived.
    since: Option<u64>,
}

impl Walkers {
    /// Number of bits. They are 8 KiB, which stay in the cache.
    const BITS: u64 = 1 << 16;

    /// Derives the set again if walks were dropped, or after loading.
    fn follow(&mut self, walks: &Generations<Of, Scan>, secret: &Secret) {
        if self.since != Some(walks.turns()) {
            self.since = Some(walks.turns());
            self.bits = vec![0; (Self::BITS / 64) as usize];
            walks.keys().for_each(|of| self.add(secret.hash(&of.walker())));
        }
    }

    const fn place(hash: u64) -> (usize, u64) {
        let bit = hash % Self::BITS;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn add(&mut self, hash: u64) {
        let (word, bit) = Self::place(hash);
        self.bits[word] |= bit;
    }

    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = Self::place(hash);
        self.bits[word] & bit != 0
    }
}

impl Of {
    /// The host that makes or gets the contacts of the walk.
    const fn walker(&self) -> Address {
        match self {
            Self::Ports { source, .. } | Self::Hosts { source, .. } => *source,
            Self::Answers { victim } => *victim,
        }
    }
}

impl Scan {
    /// The mean time between two contacts, ns.
    const fn gap_ns(&self) -> u64 {
        self.last_ns.saturating_sub(self.first_ns) / if self.contacts > 1 { self.contacts - 1 } else { 1 }
    }
}

/// The walks of all sources.
#[derive(Serialize, Deserialize)]
pub(super) struct Scans {
    /// Time of the last attempt of each contact, ns.
    contacts: Generations<u64, u64>,
    secret: Secret,
    walks: Generations<Of, Scan>,
    #[serde(skip)]
    walkers: Walkers,
    /// Walks that have found a scan, including some that no longer exist. The set is usually empty, and then an attempt
    /// needs no look-up.
    found: HashSet<Of, RandomState>,
    changed: Changed<Of>,
}

impl Scans {
    pub(super) fn new() -> Self {
        Self {
            contacts: Generations::lasting(CONTACTS, MEMORY_NS),
            secret: Secret::new(),
            walks: Generations::lasting(2 * WALKS, MEMORY_NS),
            walkers: Walkers::default(),
            found: HashSet::default(),
            changed: Changed::default(),
        }
    }

    pub(super) fn observe(&mut self, attempt: &Attempt) {
        let &Attempt { source, target, port, protocol, outcome, at_ns, visible, .. } = attempt;
        let contact = self.secret.hash(&(source, target, port, protocol));
        let mut is_first = false;
        let last_ns = self.contacts.entry(contact, at_ns, || {
            is_first = true;
            at_ns
        });
        let is_again = at_ns.saturating_sub(std::mem::replace(last_ns, at_ns)) > PAUSE_NS;
        if !is_first && !is_again {
            return;
        }
        self.walkers.follow(&self.walks, &self.secret);
        let contact = Contacted { target, at_ns, is_first, walker: self.secret.hash(&source) };
        self.step(Of::Answers { victim: source }, contact, outcome == Outcome::Unasked);
        let failed = match outcome {
            Outcome::Success | Outcome::HalfOpen | Outcome::Probe => false,
            Outcome::Failure => true,
            Outcome::Unasked => return,
        };
        if protocol == protocol::UDP && attempt.bytes > LONGEST_PROBE * attempt.packets {
            return;
        }
        if protocol == protocol::TCP || protocol == protocol::UDP {
            self.step(Of::Ports { source, target, protocol }, contact, failed);
        }
        // Requests to many servers are no scan if their answers are not seen.
        if protocol == protocol::TCP && !attempt.is_doubtful() || visible || !failed {
            self.step(Of::Hosts { source, port, protocol }, contact, failed);
        }
    }

    /// Adds a contact. Each contact may begin a walk. A walk that begins with a success ends at once and is not stored.
    fn step(&mut self, of: Of, Contacted { target, at_ns, is_first, walker }: Contacted, failed: bool) {
        let scan = if failed && is_first {
            self.walkers.add(walker);
            self.walks.entry(of, at_ns, Scan::default)
        } else if self.walkers.may_have(walker)
            && let Some(scan) = self.walks.renew(of, at_ns)
        {
            scan
        } else {
            return;
        };
        if scan.is_scan && at_ns.saturating_sub(scan.last_ns) > PAUSE_NS.max(PERIODS * scan.gap_ns()) {
            *scan = Scan { was_scan: true, ..Scan::default() };
        }
        if !is_first && !scan.was_scan {
            return;
        }
        // Contacts before the evidence are not part of the scan.
        if scan.walk.is_at_start() {
            scan.first_ns = at_ns;
        }
        scan.last_ns = scan.last_ns.max(at_ns);
        scan.contacts += 1;
        scan.failures += u64::from(failed);
        scan.targets.add(target);
        match scan.walk.step(FAILURES, failed) {
            Stand::Attack if !scan.is_scan => {
                scan.is_scan = true;
                self.found.insert(of);
            }
            Stand::Attack | Stand::Undecided => {}
            // Contacts that were not reported before the scan ended never are.
            Stand::Normal => {
                self.walks.remove(&of);
                return;
            }
        }
        // Successful contacts of a scanner are reported only with a failed one.
        if scan.is_scan && failed && !scan.is_new {
            scan.is_new = true;
            self.changed.add(of);
        }
    }

    /// Whether an attempt belongs to a scan and therefore not to a flood. A source that repeats the same contacts too
    /// often is not scanning.
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

    /// The findings about all scans since the last call.
    pub(super) fn findings(&mut self) -> Vec<Finding> {
        // There are never more walks than this.
        if self.found.len() > 4 * WALKS {
            self.found.retain(|of| self.walks.get(of).is_some_and(|scan| scan.is_scan));
        }
        self.changed.take().filter_map(|of| self.finding(of)).collect()
    }

    fn finding(&mut self, of: Of) -> Option<Finding> {
        let scan = self.walks.get_mut(&of)?;
        scan.is_new = false;
        if !scan.is_scan {
            return None;
        }
        let totals = [scan.contacts, scan.failures];
        let [attempts, failures] = [0, 1].map(|n| totals[n] - scan.reported[n]);
        scan.reported = totals;
        // Only a scan that lasts longer than the pause between two events needs its period.
        let gap_ns = Some(scan.gap_ns()).filter(|gap_ns| PERIODS * gap_ns > PAUSE_NS);
        let period_ms = gap_ns.unwrap_or_default() / 1_000_000;
        let evidence = Evidence { attempts, failures, period_ms, ..Evidence::default() };
        let many = scan.targets.of(scan.contacts as usize);
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
