//! The rate of events at each host and network, and when it becomes a flood: shared by the tests for floods.
//!
//! A gauge counts the events at a victim in each interval. The normal rate is the larger of twice the victim's own mean
//! (a moving mean over a minute) and a floor that the test sets. A [`Cusum`] detects twice the normal rate.

use std::collections::HashSet;

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::contact::prefix;
use super::finding::{Finding, NAMED, Named, Party};
use super::kind::{Evidence, Kind};
use super::walk::{ALPHA, Cusum};
use crate::features::{Distinct, Generations, hash_address};

/// Victims in a generation. Their sources are sampled, so each victim needs at most about 10 KiB, and most need a tenth
/// of that.
const VICTIMS: usize = 1 << 12;

/// The time constant of a victim's own mean, s.
const MEMORY_S: f64 = 60.0;

/// The time for which the history of a victim is learnt that was present before the meter, ns.
const PAST_NS: u64 = 10_000_000_000;

/// For a host that answers, this many unanswered events per answer are normal (a of Wang et al.).
const UNANSWERED: f64 = 0.35;

/// A flood is over after this time without an excessive rate, ns.
const OVER_NS: u64 = 10_000_000_000;

/// A source is not named as an attacker if it sends less than this fraction (1/10) of what the heaviest source sends.
const LIGHT: u64 = 10;

/// An attack on a network has at least this many of its hosts as targets.
const SPREAD_HOSTS: f64 = 8.0;

/// The parameters of a test for one kind of flood.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    /// The rate that is normal for every host, events per second.
    pub(super) floor: f64,
    /// Whether a high rate is no evidence until the victim's history is known, because it may always have been high.
    pub(super) needs_past: bool,
}

impl Rule {
    /// The number of events in an interval that are counted without their parties while the rate is normal. Completed
    /// connections are ordinary traffic, and a flood of them has far more than an eighth of the floor.
    fn nameless(self) -> u64 {
        if self.kind == Kind::HttpFlood { self.floor as u64 / 8 } else { 0 }
    }
}

/// Something that a victim received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) victim: Address,
    pub(super) source: Address,
    pub(super) protocol: u8,
    /// The port of the service, at either end.
    pub(super) port: u16,
    /// The number of events.
    pub(super) count: u64,
    /// The number of events that count even if the history is not known.
    pub(super) spread: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

/// The sources of most events, by the space-saving algorithm (A. Metwally, D. Agrawal, A. El Abbadi, "Efficient
/// computation of frequent and top-k elements in data streams", ICDT 2005): when there is no room, a new source
/// replaces the one with the smallest count and continues with its count.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Heaviest {
    /// Most victims have one source, which needs no heap memory.
    sources: SmallVec<[(Address, u64); 1]>,
    all: u64,
}

impl Heaviest {
    fn add(&mut self, source: Address, count: u64) {
        self.all += count;
        if let Some((_, own)) = self.sources.iter_mut().find(|(known, _)| *known == source) {
            *own += count;
        } else if self.sources.len() < NAMED {
            self.sources.push((source, count));
        } else if let Some(least) = self.sources.iter_mut().min_by_key(|(_, own)| *own) {
            *least = (source, least.1 + count);
        }
    }

    /// Starts again, and keeps the memory: a service has a few sources in each interval.
    fn clear(&mut self) {
        self.sources.clear();
        self.all = 0;
    }

    /// The sources with at least a tenth of the largest count. If they sent nearly all events, the others are
    /// bystanders and not counted. Otherwise there are `distinct` sources of similar weight.
    fn party(&self, distinct: usize) -> Party {
        let most = self.sources.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let heavy = self.sources.iter().filter(|(_, count)| *count * LIGHT >= most);
        let named: Vec<Address> = heavy.clone().map(|(source, _)| *source).collect();
        let sent: u64 = heavy.map(|(_, count)| *count).sum();
        let is_all = self.sources.len() < NAMED || named.len() < NAMED && sent * LIGHT >= self.all * (LIGHT - 1);
        Party { count: if is_all { named.len() } else { named.len().max(distinct) }, named }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Gauge {
    born_ns: u64,
    /// Number of events in this interval.
    count: u64,
    spread: u64,
    answered: u64,
    /// Events per second.
    mean: f64,
    change: Cusum,
    spreading: Cusum,
    is_flood: bool,
    /// The last interval with an excessive rate.
    flood_ns: u64,
    sources: Distinct,
    targets: Distinct,
    heaviest: Heaviest,
    /// The first victims, of a network.
    named_targets: Named,
    evidence: Evidence,
    first_ns: u64,
    last_ns: u64,
}

/// The gauges of one kind.
#[derive(Serialize, Deserialize)]
pub(super) struct Gauges {
    rule: Rule,
    hosts: Generations<Address, Gauge>,
    networks: Generations<Address, Gauge>,
    /// The seed for samples of addresses, so that nobody can choose addresses that a sample misses.
    seed: u64,
}

impl Gauges {
    pub(super) fn new(rule: Rule, seed: u64) -> Self {
        Self { rule, hosts: Generations::new(VICTIMS), networks: Generations::new(VICTIMS), seed }
    }

    pub(super) fn add(&mut self, event: &Event) {
        let (seed, nameless) = (self.seed, self.rule.nameless());
        let born = || Gauge { born_ns: event.first_ns, ..Gauge::default() };
        let host = self.hosts.entry(event.victim, event.first_ns, born);
        host.add(event);
        if host.names_parties(nameless) {
            host.add_source(event, seed);
        }
        let network = self.networks.entry(prefix(event.victim), event.first_ns, born);
        network.add(event);
        if network.names_parties(nameless) {
            network.add_source(event, seed);
            network.add_victim(event.victim, seed);
        }
    }

    /// Takes the events of this interval in `completed` as the answers of the same hosts and networks.
    pub(super) fn take_answers(&mut self, completed: &Self) {
        for (own, completed) in [(&mut self.hosts, &completed.hosts), (&mut self.networks, &completed.networks)] {
            for (victim, gauge) in own.iter_mut() {
                gauge.answered = completed.get(victim).map_or(0, |gauge| gauge.count);
            }
        }
    }

    /// Whether the host has a gauge of recent events.
    pub(super) fn knows(&mut self, victim: Address) -> bool {
        self.hosts.get_mut(&victim).is_some()
    }

    /// Whether a flood against the host is in progress.
    pub(super) fn is_flood(&mut self, victim: Address) -> bool {
        self.hosts.get_mut(&victim).is_some_and(|gauge| gauge.is_flood)
    }

    /// Ends an interval of `seconds` in a run that began at `began_ns`. Returns the floods of hosts, and the floods of
    /// networks without a flooded host.
    pub(super) fn interval(&mut self, began_ns: u64, now_ns: u64, seconds: f64) -> Vec<Finding> {
        let rule = self.rule;
        let now = Interval {
            began_ns,
            now_ns,
            seconds,
            steps: [PAST_NS as f64 / 1e9, MEMORY_S].map(|memory_s| step(seconds, memory_s)),
        };
        let mut findings = Vec::new();
        let mut flooded: HashSet<Address, RandomState> = HashSet::default();
        self.hosts.retain(|victim, gauge| {
            if gauge.interval(rule, &now) {
                findings.push(gauge.finding(rule.kind, Party::of(*victim)));
            }
            if gauge.is_flood {
                flooded.insert(prefix(*victim));
            }
            gauge.goes_on()
        });
        self.networks.retain(|network, gauge| {
            let has_flood = gauge.interval(rule, &now);
            if has_flood && !flooded.contains(network) && gauge.targets.count() >= SPREAD_HOSTS {
                let victims = gauge.victims();
                findings.push(gauge.finding(rule.kind, victims));
            }
            gauge.goes_on()
        });
        findings.sort_by(|a, b| (a.start_ns, &a.targets.named).cmp(&(b.start_ns, &b.targets.named)));
        findings
    }
}

/// An interval that ends.
struct Interval {
    /// Start of the run, ns.
    began_ns: u64,
    /// End of the interval, ns.
    now_ns: u64,
    seconds: f64,
    /// The weight of the interval in a victim's own mean: while its history is learnt, and afterwards.
    steps: [f64; 2],
}

/// The weight of an interval in a moving mean over `memory_s`.
fn step(seconds: f64, memory_s: f64) -> f64 {
    -(-seconds / memory_s).exp_m1()
}

impl Gauge {
    /// Counts an event.
    fn add(&mut self, event: &Event) {
        if self.first_ns == 0 {
            self.first_ns = event.first_ns;
        }
        self.last_ns = self.last_ns.max(event.last_ns);
        self.count += event.count;
        self.spread += event.spread;
        let Event { protocol, port, count, packets, bytes, .. } = *event;
        self.evidence.add(&Evidence {
            protocol,
            port,
            attempts: count,
            failures: count,
            packets,
            bytes,
            ..Evidence::default()
        });
    }

    /// Whether the parties of the event that was just counted may be those of a flood.
    fn names_parties(&self, nameless: u64) -> bool {
        self.count > nameless || !self.is_at_rest()
    }

    fn add_source(&mut self, event: &Event, seed: u64) {
        self.sources.add(hash_address(event.source, seed), 0);
        self.heaviest.add(event.source, event.count.max(event.spread));
    }

    /// Adds a victim of a network.
    fn add_victim(&mut self, victim: Address, seed: u64) {
        self.targets.add(hash_address(victim, seed), 0);
        self.named_targets.add(victim);
    }

    /// The victims of a network.
    fn victims(&mut self) -> Party {
        self.named_targets.of(self.targets.count() as usize)
    }

    /// Whether there is a flood in the interval that ends.
    fn interval(&mut self, rule: Rule, &Interval { began_ns, now_ns, seconds, steps }: &Interval) -> bool {
        let rate = self.count as f64 / seconds;
        let normal = (2.0 * self.mean).max(rule.floor).max(UNANSWERED * self.answered as f64 / seconds);
        let was_there = self.born_ns.saturating_sub(began_ns) < PAST_NS;
        let is_learnt = !rule.needs_past || !was_there || now_ns.saturating_sub(self.born_ns) >= PAST_NS;
        let changed = is_learnt && self.change.step(self.count as f64, seconds, normal);
        let spread = self.spreading.step(self.spread as f64, seconds, normal);
        if changed || spread {
            (self.is_flood, self.flood_ns) = (true, now_ns);
        } else if now_ns.saturating_sub(self.flood_ns) >= OVER_NS {
            self.is_flood = false;
        }
        if !self.is_flood {
            self.mean += (rate - self.mean) * steps[usize::from(is_learnt)];
        }
        self.is_flood && self.count > 0
    }

    fn finding(&mut self, kind: Kind, targets: Party) -> Finding {
        Finding {
            kind,
            sources: self.heaviest.party(self.sources.count() as usize),
            targets,
            evidence: std::mem::take(&mut self.evidence),
            start_ns: self.first_ns,
            end_ns: self.last_ns,
            bound: ALPHA,
        }
    }

    /// Starts the next interval. Returns false if this gauge has no more information than a new gauge.
    fn goes_on(&mut self) -> bool {
        let goes_on = !self.is_forgotten();
        if goes_on {
            self.begin();
        }
        goes_on
    }

    /// Starts an interval. Events before a flood are not part of it.
    fn begin(&mut self) {
        (self.count, self.spread) = (0, 0);
        if self.is_at_rest() {
            (self.sources, self.targets) = (Distinct::default(), Distinct::default());
            self.heaviest.clear();
            self.named_targets = Named::default();
            self.evidence = Evidence::default();
            self.first_ns = 0;
        }
    }

    /// Whether there is neither a flood nor evidence of one.
    fn is_at_rest(&self) -> bool {
        !self.is_flood && self.change.is_at_rest() && self.spreading.is_at_rest()
    }

    /// Whether this gauge has no more information than a new gauge.
    fn is_forgotten(&self) -> bool {
        self.is_at_rest() && self.count == 0 && self.mean < 0.1
    }
}
