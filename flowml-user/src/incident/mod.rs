//! Incidents: anomalous host windows with one cause, joined over hosts and time.
//!
//! A scan makes two hosts anomalous as long as it lasts, and a flood with spoofed sources makes tens of thousands
//! anomalous. To an operator each is one event. A window is anomalous in what its host did to others (a source) or in
//! what others did to it (a target). A source opens an incident, and the targets of its flows belong to it. The target
//! opens the incident instead, and its sources belong to it, in two cases: more than a few anomalous sources have flows
//! to it, or a source with hardly any flows is anomalous together with its target.
//!
//! A finding of a sequential test (`crate::sequential`) opens an incident of a kind, with the hosts that the test names.
//! Anomalous windows of these hosts, and of hosts with flows to or from them, belong to it. If anomalous windows opened
//! the incident first, it takes the kind and the hosts of the finding, because a model cannot decide who attacks whom.

mod findings;
mod index;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

use self::index::{Index, Members, Number};
use crate::features::HostWindow;
use crate::learning::{Reason, Verdict};
use crate::sequential::{Evidence, Kind, Story};

/// If more anomalous sources than this have flows to one host, they are one attack on that host.
const MULTI_SOURCE_MIN: usize = 4;

/// A source with at most this many flows in its window has done hardly anything.
const SLIGHT: f64 = 2.0;

/// An incident ends when it had no anomalous window for this time, ns.
const CLOSE_AFTER_NS: u64 = 10_000_000_000;

/// Anomalous windows are an incident when their severities add up to this: three windows with a probability of 10⁻⁴,
/// two with 10⁻⁵, or one with 10⁻¹⁰. Chance makes an anomalous window now and then, and a second one with it, because
/// windows overlap.
const REPORT_THRESHOLD: f64 = 10.0;

/// How far back the windows of an interval reach, ns: a window and an interval. Activity in this time may be the cause
/// of an anomaly.
const TRAILING_NS: u64 = 3_000_000_000;

/// The time for which the hosts of an incident stay suspect after its end, ns. Flows that became silent with it end by
/// the idle timeout, 15 s by default.
const SUSPECT_NS: u64 = 10_000_000_000;

/// The largest number of open incidents. Anomalies that would open more are counted.
const MAX_OPEN: usize = 4096;

/// The largest number of hosts of an incident that are distinguished. A flood may spoof more.
const MOST_HOSTS: usize = 1 << 16;

/// The largest number of named hosts of a role.
const NAMED: usize = 8;

/// The role of a host in an anomalous window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Its own activity is anomalous.
    Source,
    /// The activity of others against it is anomalous.
    Target,
}

/// Hosts of one role in an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// The first hosts, in the order in which they were found.
    pub named: Vec<Address>,
    /// The number of hosts, at most 65,536.
    pub count: usize,
}

impl Hosts {
    /// One or two hosts by address, more by their number.
    #[must_use]
    pub fn in_words(&self) -> String {
        let names: Vec<String> = self.named.iter().map(|address| address.to_ip().to_string()).collect();
        match (self.count, names.as_slice()) {
            (1 | 2, _) => names.join(" and "),
            (0, _) => String::new(),
            (count, _) => format!("{count} hosts"),
        }
    }
}

/// Anomalies with one cause. Times are ns of the capture's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Number of the incident, from 1, in the order in which they were reported.
    pub number: u64,
    /// The kind.
    pub kind: Kind,
    /// The counts of the sequential tests.
    pub evidence: Evidence,
    /// Start of the first window.
    pub start_ns: u64,
    /// End of the last window so far.
    pub end_ns: u64,
    /// The attackers, as far as they were seen.
    pub sources: Hosts,
    /// The victims.
    pub targets: Hosts,
    /// Number of anomalous host windows.
    pub windows: u64,
    /// Number of anomalous flows from or to one of the hosts.
    pub flows: u64,
    /// The probability of the most anomalous window. For a finding of a test, the bound on its probability in normal
    /// traffic.
    pub probability: f64,
    /// The reasons for the most anomalous window.
    pub reasons: Vec<Reason>,
}

impl Incident {
    /// How improbable it is in normal traffic: −log₁₀ of the probability, at most 300.
    #[must_use]
    pub fn severity(&self) -> f64 {
        severity(self.probability)
    }

    /// 1 − the probability of such an incident in normal traffic.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        1.0 - self.probability
    }

    /// A summary in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        self.kind.sentence(&Story {
            sources: self.sources.in_words(),
            targets: self.targets.in_words(),
            evidence: self.evidence,
            seconds: self.end_ns.saturating_sub(self.start_ns) as f64 / 1e9,
        })
    }

    fn hosts_mut(&mut self, role: Role) -> &mut Hosts {
        match role {
            Role::Source => &mut self.sources,
            Role::Target => &mut self.targets,
        }
    }
}

/// −log₁₀ of a probability, 300 at most.
fn severity(probability: f64) -> f64 {
    -probability.max(1e-300).log10()
}

/// A change of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It was opened.
    Open,
    /// It is open, and a test has determined its kind.
    Named,
    /// It has ended.
    Closed,
}

/// An incident that has not ended. It is not reported (`reported`) before it is certain.
#[derive(Serialize, Deserialize)]
struct Open {
    number: Number,
    incident: Incident,
    /// The host and role that identify it.
    key: (Address, Role),
    hosts: Members,
    /// The counts of tests, by the kinds that they found.
    counted: BTreeMap<Kind, Evidence>,
    /// End of the last window of a source.
    source_end_ns: u64,
    /// Sum of the severities of its windows.
    evidence: f64,
    /// The probability of the most anomalous window.
    least_probable: f64,
    reported: bool,
}

/// Flows with the same initiator and responder that were drained one after the other.
#[derive(Serialize, Deserialize)]
struct Link {
    initiator: Address,
    responder: Address,
    flows: u64,
}

impl Open {
    fn new(number: Number, incident: Incident, key: (Address, Role)) -> Self {
        let (hosts, counted) = Default::default();
        Self {
            number,
            incident,
            key,
            hosts,
            counted,
            source_end_ns: 0,
            evidence: 0.0,
            least_probable: f64::INFINITY,
            reported: false,
        }
    }

    /// Adds a host, if it is new.
    fn name(&mut self, index: &mut Index, address: Address, role: Role) {
        if self.hosts.len() < MOST_HOSTS && self.hosts.insert((address, role)) {
            index.enter(address, self.number, self.reported);
            let hosts = self.incident.hosts_mut(role);
            hosts.count += 1;
            if hosts.named.len() < NAMED {
                hosts.named.push(address);
            }
        }
    }

    /// Counts an anomalous window, and keeps the reasons of the most anomalous one.
    fn take(&mut self, verdict: &Verdict) {
        self.incident.windows += 1;
        if verdict.probability < self.least_probable {
            self.least_probable = verdict.probability;
            self.incident.reasons.clone_from(&verdict.reasons);
        }
    }
}

/// All incidents of a run.
#[derive(Default, Serialize, Deserialize)]
pub struct Incidents {
    /// The open incidents, the oldest first.
    open: BTreeMap<Number, Open>,
    by_key: HashMap<(Address, Role), Number, RandomState>,
    /// Number of incidents opened so far, reported or not.
    begun: Number,
    /// When recent incidents ended, and their hosts.
    ended: VecDeque<(u64, Members)>,
    /// The open and recently ended incidents of each host.
    index: Index,
    /// Initiators and responders of the flows drained since the last interval.
    links: Vec<Link>,
    /// The same for the earlier intervals to which the windows reach back, with the ends of these intervals.
    past: VecDeque<(u64, Vec<Link>)>,
    reported: u64,
    left_out: u64,
    /// The values of `reported` and `left_out` before this run.
    before: (u64, u64),
    /// Hosts whose activity an operator has labelled as no attack, and the last time of that activity.
    excused: HashMap<Address, u64, RandomState>,
    /// Events of the tests since the last interval.
    events: Vec<(State, Number)>,
}

/// One anomalous window.
struct Unusual<'a> {
    window: &'a HostWindow,
    verdict: &'a Verdict,
    role: Role,
}

impl Incidents {
    /// Records a flow's initiator and responder.
    pub fn link(&mut self, ends: [Address; 2]) {
        let [initiator, responder] = ends;
        // Flows of a scan follow one another.
        match self.links.last_mut() {
            Some(last) if [last.initiator, last.responder] == ends => last.flows += 1,
            _ => self.links.push(Link { initiator, responder, flows: 1 }),
        }
    }

    /// Adds the windows of an interval that ends at `now_ns`, some of which are anomalies. Returns the incidents that
    /// were opened, named or ended.
    pub fn observe<'a>(
        &mut self,
        now_ns: u64,
        judged: impl Iterator<Item = (&'a HostWindow, Option<&'a Verdict>)>,
    ) -> Vec<(State, Incident)> {
        let unusual: BTreeMap<Address, Unusual<'a>> = judged
            .filter_map(|(window, verdict)| Some((window, verdict.filter(|verdict| verdict.anomaly)?)))
            .map(|(window, verdict)| (window.address, Unusual { window, verdict, role: role(&verdict.reasons) }))
            .collect();
        self.past.push_back((now_ns, std::mem::take(&mut self.links)));
        while self.past.front().is_some_and(|(end_ns, _)| end_ns.saturating_add(TRAILING_NS) <= now_ns) {
            self.past.pop_front();
        }
        let unusual = self.join_findings(unusual);
        if !unusual.is_empty() {
            self.assign(&unusual);
        }
        self.report(now_ns)
    }

    /// Whether a host is in an incident, or recently was. Its activity is then not eligible for training.
    #[must_use]
    pub fn is_suspect(&self, address: Address) -> bool {
        self.index.is_suspect(address)
    }

    /// Adds an anomalous flow. Returns whether it belongs to an incident.
    pub fn flow(&mut self, ends: [Address; 2]) -> bool {
        let first = ends.iter().filter_map(|address| self.index.first(*address)).min();
        let found = first.and_then(|number| self.open.get_mut(&number));
        found.map(|open| open.incident.flows += 1).is_some()
    }

    /// The reported open incidents, the oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().filter(|open| open.reported).map(|open| &open.incident)
    }

    /// The number of incidents opened in this run, and of anomalous windows for which there was no room.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.reported - self.before.0, self.left_out - self.before.1)
    }

    /// Prepares for another run that continues the incidents: numbering continues, and counts start at 0.
    pub const fn hand_over(&mut self) {
        self.before = (self.reported, self.left_out);
    }

    /// Ends all open incidents at the end of the run.
    pub fn finish(&mut self) -> Vec<(State, Incident)> {
        self.ended.clear();
        self.by_key.clear();
        self.index.clear();
        let events = self.take_events();
        let reported = std::mem::take(&mut self.open).into_values().filter(|open| open.reported);
        events.into_iter().chain(reported.map(|open| (State::Closed, open.incident))).collect()
    }

    /// Assigns each anomaly to its incident.
    fn assign(&mut self, unusual: &BTreeMap<Address, Unusual<'_>>) {
        let is = |address: &Address, role| unusual.get(address).is_some_and(|unusual| unusual.role == role);
        let mut attacked: BTreeMap<Address, BTreeSet<Address>> = BTreeMap::new();
        let mut flows_to: BTreeMap<Address, BTreeMap<Address, u64>> = BTreeMap::new();
        for Link { initiator, responder, flows } in self.past.iter().flat_map(|(_, links)| links) {
            if is(initiator, Role::Source) {
                attacked.entry(*responder).or_default().insert(*initiator);
            }
            if is(responder, Role::Target) {
                *flows_to.entry(*responder).or_default().entry(*initiator).or_default() += flows;
            }
        }
        // A source belongs to the incident of its target if there are many sources, or if it did hardly anything and
        // its target is also anomalous. The latter holds for the first sources of a flood with spoofed addresses.
        let is_slight = |source: &Address| {
            unusual.get(source).is_some_and(|unusual| (1.0..=SLIGHT).contains(&unusual.window.source.flows))
        };
        let mut by_target: BTreeMap<Address, Address> = BTreeMap::new();
        for (to, sources) in &attacked {
            let many = sources.len() > MULTI_SOURCE_MIN;
            let slight = |source: &&Address| is(to, Role::Target) && is_slight(source);
            by_target.extend(sources.iter().filter(|source| many || slight(source)).map(|source| (*source, *to)));
        }
        for unusual in unusual.values().filter(|unusual| unusual.role == Role::Source) {
            let own = (unusual.window.address, Role::Source);
            let key = by_target.get(&unusual.window.address).map_or(own, |target| (*target, Role::Target));
            self.add(unusual, key);
        }
        // A source with several targets is assigned to one of them.
        let is_mine = |source: &Address, target: &Unusual<'_>| by_target.get(source) == Some(&target.window.address);
        for unusual in unusual.values().filter(|unusual| unusual.role == Role::Target) {
            let own = (unusual.window.address, Role::Target);
            match attacked.get(&unusual.window.address) {
                Some(sources)
                    if sources.len() > MULTI_SOURCE_MIN || sources.iter().any(|source| is_mine(source, unusual)) =>
                {
                    self.add(unusual, own);
                }
                Some(sources) => sources.iter().for_each(|source| self.add(unusual, (*source, Role::Source))),
                None => {
                    let flows = flows_to.get(&unusual.window.address);
                    self.add(unusual, self.going_on(unusual, flows).unwrap_or(own));
                }
            }
        }
    }

    /// The incident of a target whose source is no longer an anomaly. Its source was one until a moment ago, or has
    /// most of the `flows` to the target (by initiator), such as a source that opened many connections and keeps them
    /// open.
    fn going_on(&self, unusual: &Unusual<'_>, flows: Option<&BTreeMap<Address, u64>>) -> Option<(Address, Role)> {
        let &HostWindow { address, end_ns, .. } = unusual.window;
        let is_trailing = |open: &Open| end_ns <= open.source_end_ns.saturating_add(TRAILING_NS);
        let all: u64 = flows.into_iter().flat_map(BTreeMap::values).sum();
        let has_most = |open: &Open| {
            let is_its = |initiator: &Address| open.hosts.contains(&(*initiator, Role::Source));
            let its: u64 = flows.into_iter().flatten().filter(|(from, _)| is_its(from)).map(|(_, flows)| flows).sum();
            2 * its > all
        };
        let of_host = self.index.all(address).filter_map(|number| self.open.get(&number));
        let mut of_target = of_host.filter(|open| open.hosts.contains(&(address, Role::Target)));
        of_target.find(|open| is_trailing(open) || has_most(open)).map(|open| open.key)
    }

    fn add(&mut self, unusual: &Unusual<'_>, key: (Address, Role)) {
        let found = self.by_key.get(&key).copied().or_else(|| self.begin(unusual, key));
        let Some(open) = found.and_then(|number| self.open.get_mut(&number)) else {
            self.left_out += 1;
            return;
        };
        let Unusual { window, verdict, role } = unusual;
        if *role == Role::Source {
            open.source_end_ns = window.end_ns;
        }
        open.evidence += severity(verdict.probability);
        open.incident.start_ns = open.incident.start_ns.min(window.start_ns);
        open.incident.end_ns = open.incident.end_ns.max(window.end_ns);
        open.name(&mut self.index, window.address, *role);
        open.take(verdict);
        if !open.has_finding() {
            open.incident.probability = open.least_probable;
        }
    }

    fn begin(&mut self, unusual: &Unusual<'_>, key: (Address, Role)) -> Option<Number> {
        self.open_one(Incident::unusual(unusual.window.start_ns, unusual.window.end_ns), key)
    }

    /// Opens an incident, if there is room.
    fn open_one(&mut self, incident: Incident, key: (Address, Role)) -> Option<Number> {
        (self.open.len() < MAX_OPEN).then(|| {
            self.begun += 1;
            self.open.insert(self.begun, Open::new(self.begun, incident, key));
            self.by_key.entry(key).or_insert(self.begun);
            self.begun
        })
    }

    /// Removes an incident. If it was reported, its hosts stay suspect until the index drops them.
    fn take_out(&mut self, number: Number) -> Option<Open> {
        let open = self.open.remove(&number)?;
        if self.by_key.get(&open.key) == Some(&number) {
            self.by_key.remove(&open.key);
        }
        self.index.end(&open.hosts, number, open.reported);
        Some(open)
    }

    /// Reports incidents that have become certain, and removes those that have ended.
    fn report(&mut self, now_ns: u64) -> Vec<(State, Incident)> {
        let mut events = self.take_events();
        for open in self.open.values_mut() {
            let Open { incident, hosts, reported, evidence, .. } = open;
            if !*reported && *evidence >= REPORT_THRESHOLD {
                *reported = true;
                self.index.report(hosts);
                self.reported += 1;
                incident.number = self.reported;
                events.push((State::Open, incident.clone()));
            }
        }
        let is_over = |open: &Open| open.incident.end_ns.saturating_add(open.quiet_ns()) <= now_ns;
        let over: Vec<Number> = self.open.iter().filter(|(_, open)| is_over(open)).map(|(number, _)| *number).collect();
        for number in over {
            let Some(open) = self.take_out(number) else { continue };
            if open.reported {
                self.ended.push_back((now_ns, open.hosts));
                events.push((State::Closed, open.incident));
            }
        }
        let is_past = |(end_ns, _): &(u64, Members)| end_ns.saturating_add(SUSPECT_NS) <= now_ns;
        while self.ended.front().is_some_and(is_past)
            && let Some((_, hosts)) = self.ended.pop_front()
        {
            self.index.forget(&hosts);
        }
        events
    }
}

/// Whether the host's own activity or that of others is anomalous, by the larger share of the reasons.
fn role(reasons: &[Reason]) -> Role {
    let share = |role: &str| -> f64 {
        reasons.iter().filter(|reason| reason.column.starts_with(role)).map(|reason| reason.share).sum()
    };
    if share("destination_") > share("source_") { Role::Target } else { Role::Source }
}
