//! Incidents: anomalous host windows that have one cause, joined over hosts and over time.
//!
//! A scan makes two hosts odd for as long as it lasts, a flood with invented sources tens of thousands. Each is one
//! event to an operator. A window is odd in what its host did to others (a source) or in what others did to it (a
//! target). A source makes an incident, and the targets that it has flows to belong to it. Where more than a few odd
//! sources have flows to one host, or one with hardly a flow is odd with its target, that host makes the incident, and they
//! belong to it.
//!
//! What a test has found (`crate::witness`) makes an incident of a kind, with the hosts that the test names. Odd windows of
//! these hosts, and of those that they have flows with, belong to it. An incident that odd windows made first takes the kind and
//! the hosts of the test's finding: a model does not know who attacks whom.

mod index;
#[cfg(test)]
mod tests;
mod witnessed;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

use self::index::{Index, Members, Number};
use crate::features::HostWindow;
use crate::model::{Reason, Verdict};
use crate::witness::{Evidence, Kind, Story};

/// More odd sources than this with flows to one host are one attack on that host.
const FEW: usize = 4;

/// Flows in its window with which a source has done hardly anything.
const SLIGHT: f64 = 2.0;

/// An incident ends when none of its windows was an anomaly for so long, ns.
const QUIET_NS: u64 = 10_000_000_000;

/// The severities of its windows make an incident when they come to this: three windows of a probability of 10⁻⁴ do, two
/// of 10⁻⁵, or one of 10⁻¹⁰. Chance makes an odd window now and then, and as windows overlap a second one with it.
const CERTAIN: f64 = 10.0;

/// So far back reach the windows of an interval, ns: a window and an interval. What was then may be why a host is odd.
const TRAILING_NS: u64 = 3_000_000_000;

/// For so long after its end the hosts of an incident are suspect, ns: flows that fell silent with it end by the idle
/// timeout, which is 15 s unless told otherwise.
const SUSPECT_NS: u64 = 10_000_000_000;

/// Incidents that are open at once. Anomalies beyond are counted.
const MOST_OPEN: usize = 4096;

/// Hosts of an incident that are told apart; a flood can invent more.
const MOST_HOSTS: usize = 1 << 16;

/// Hosts of a role that are named.
const NAMED: usize = 8;

/// What an anomalous window says of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// It did something odd to others.
    Source,
    /// Others did something odd to it.
    Target,
}

/// Hosts of one role in an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts {
    /// The first of them, in the order in which they were found.
    pub named: Vec<Address>,
    /// How many there are, 65,536 at most.
    pub count: usize,
}

impl Hosts {
    /// One or two by name, more by number.
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
    /// From 1, in the order of their begin.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// What a test counted of it.
    pub evidence: Evidence,
    /// Begin of the first window.
    pub start_ns: u64,
    /// End of the last window so far.
    pub end_ns: u64,
    /// Who did it, as far as it was seen.
    pub sources: Hosts,
    /// To whom.
    pub targets: Hosts,
    /// Host windows that are anomalies.
    pub windows: u64,
    /// Flows that are anomalies, between one of the hosts and anyone.
    pub flows: u64,
    /// That of the oddest window; of what a test has found, the chance that it says so of ordinary traffic.
    pub probability: f64,
    /// What made that window odd.
    pub reasons: Vec<Reason>,
}

impl Incident {
    /// How improbable it is where all is ordinary: −log₁₀ of the probability.
    #[must_use]
    pub fn severity(&self) -> f64 {
        severity(self.probability)
    }

    /// The chance that ordinary traffic does not look so.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        1.0 - self.probability
    }

    /// What a person would say of it.
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

/// What became of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It has begun, and goes on.
    Open,
    /// It goes on, and a test has said of what kind it is.
    Named,
    /// It is over.
    Closed,
}

/// An incident in the making: one that nobody was told of is not yet certain.
#[derive(Serialize, Deserialize)]
struct Open {
    number: Number,
    incident: Incident,
    /// The host and role that make it one.
    key: (Address, Role),
    hosts: Members,
    /// What tests counted, by the kinds that they took it for.
    counted: BTreeMap<Kind, Evidence>,
    /// End of the last window of a source.
    source_end_ns: u64,
    /// Sum of the severities of its windows.
    evidence: f64,
    /// The probability of the oddest window.
    oddest: f64,
    told: bool,
}

/// Flows with the same initiator and responder, drained one after the other.
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
            oddest: f64::INFINITY,
            told: false,
        }
    }

    /// Takes a host in, if it is not there.
    fn name(&mut self, index: &mut Index, address: Address, role: Role) {
        if self.hosts.len() < MOST_HOSTS && self.hosts.insert((address, role)) {
            index.enter(address, self.number, self.told);
            let hosts = self.incident.hosts_mut(role);
            hosts.count += 1;
            if hosts.named.len() < NAMED {
                hosts.named.push(address);
            }
        }
    }

    /// Counts an odd window, and keeps the reasons of the oddest.
    fn take(&mut self, verdict: &Verdict) {
        self.incident.windows += 1;
        if verdict.probability < self.oddest {
            self.oddest = verdict.probability;
            self.incident.reasons.clone_from(&verdict.reasons);
        }
    }
}

/// All incidents of a run.
#[derive(Default, Serialize, Deserialize)]
pub struct Incidents {
    /// The oldest first.
    open: BTreeMap<Number, Open>,
    by_key: HashMap<(Address, Role), Number, RandomState>,
    /// How many incidents have begun, reported or not.
    begun: Number,
    /// When incidents ended of late, and their hosts.
    ended: VecDeque<(u64, Members)>,
    /// The incidents of each host, open or ended a short time ago.
    index: Index,
    /// Initiators and responders of what was drained since the last interval …
    links: Vec<Link>,
    /// … and in those before it that its windows reach back to, with the ends of the intervals.
    past: VecDeque<(u64, Vec<Link>)>,
    told: u64,
    left_out: u64,
    /// How many there were of both before this run.
    before: (u64, u64),
    /// Hosts of which an operator has said that what they do is no attack, and when they did it last.
    excused: HashMap<Address, u64, RandomState>,
    /// What tests have said since the last interval.
    news: Vec<(State, Number)>,
}

/// One anomalous window.
struct Odd<'a> {
    window: &'a HostWindow,
    verdict: &'a Verdict,
    role: Role,
}

impl Incidents {
    /// Takes note of a flow's initiator and responder.
    pub fn link(&mut self, ends: [Address; 2]) {
        let [initiator, responder] = ends;
        // The flows of a scan follow each other.
        match self.links.last_mut() {
            Some(last) if [last.initiator, last.responder] == ends => last.flows += 1,
            _ => self.links.push(Link { initiator, responder, flows: 1 }),
        }
    }

    /// Takes the windows of an interval that ends at `now_ns`, of which some are anomalies. Returns the incidents that
    /// have begun or ended.
    pub fn observe<'a>(
        &mut self,
        now_ns: u64,
        judged: impl Iterator<Item = (&'a HostWindow, Option<&'a Verdict>)>,
    ) -> Vec<(State, Incident)> {
        let odd: BTreeMap<Address, Odd<'a>> = judged
            .filter_map(|(window, verdict)| Some((window, verdict.filter(|verdict| verdict.anomaly)?)))
            .map(|(window, verdict)| (window.address, Odd { window, verdict, role: role(&verdict.reasons) }))
            .collect();
        self.past.push_back((now_ns, std::mem::take(&mut self.links)));
        while self.past.front().is_some_and(|(end_ns, _)| end_ns.saturating_add(TRAILING_NS) <= now_ns) {
            self.past.pop_front();
        }
        let odd = self.join_witnessed(odd);
        if !odd.is_empty() {
            self.assign(&odd);
        }
        self.tell(now_ns)
    }

    /// Whether a host is part of an incident, or was of late: what it does then is no model for what is ordinary.
    #[must_use]
    pub fn is_suspect(&self, address: Address) -> bool {
        self.index.is_suspect(address)
    }

    /// Takes an anomalous flow. Returns whether it belongs to an incident.
    pub fn flow(&mut self, ends: [Address; 2]) -> bool {
        let first = ends.iter().filter_map(|address| self.index.first(*address)).min();
        let found = first.and_then(|number| self.open.get_mut(&number));
        found.map(|open| open.incident.flows += 1).is_some()
    }

    /// Incidents that are open, the oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().filter(|open| open.told).map(|open| &open.incident)
    }

    /// How many incidents have begun in this run, and how many anomalous windows found no place.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.told - self.before.0, self.left_out - self.before.1)
    }

    /// Another run goes on with them: numbers go on, and what is counted begins anew.
    pub const fn hand_over(&mut self) {
        self.before = (self.told, self.left_out);
    }

    /// Ends all that are open, because the run ends.
    pub fn finish(&mut self) -> Vec<(State, Incident)> {
        self.ended.clear();
        self.by_key.clear();
        self.index.clear();
        let news = self.take_news();
        let told = std::mem::take(&mut self.open).into_values().filter(|open| open.told);
        news.into_iter().chain(told.map(|open| (State::Closed, open.incident))).collect()
    }

    /// Gives each anomaly its incident.
    fn assign(&mut self, odd: &BTreeMap<Address, Odd<'_>>) {
        let is = |address: &Address, role| odd.get(address).is_some_and(|odd| odd.role == role);
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
        // Whose incident it is what a source did: that of the target, of many, or of one that did hardly anything and is odd
        // with its target alone, as the first of a flood from invented sources are.
        let is_slight =
            |source: &Address| odd.get(source).is_some_and(|odd| (1.0..=SLIGHT).contains(&odd.window.source.flows));
        let mut by_target: BTreeMap<Address, Address> = BTreeMap::new();
        for (to, sources) in &attacked {
            let many = sources.len() > FEW;
            let slight = |source: &&Address| is(to, Role::Target) && is_slight(source);
            by_target.extend(sources.iter().filter(|source| many || slight(source)).map(|source| (*source, *to)));
        }
        for odd in odd.values().filter(|odd| odd.role == Role::Source) {
            let own = (odd.window.address, Role::Source);
            let key = by_target.get(&odd.window.address).map_or(own, |target| (*target, Role::Target));
            self.add(odd, key);
        }
        // A source of several targets is of one of them.
        let is_mine = |source: &Address, target: &Odd<'_>| by_target.get(source) == Some(&target.window.address);
        for odd in odd.values().filter(|odd| odd.role == Role::Target) {
            let own = (odd.window.address, Role::Target);
            match attacked.get(&odd.window.address) {
                Some(sources) if sources.len() > FEW || sources.iter().any(|source| is_mine(source, odd)) => {
                    self.add(odd, own);
                }
                Some(sources) => sources.iter().for_each(|source| self.add(odd, (*source, Role::Source))),
                None => {
                    let flows = flows_to.get(&odd.window.address);
                    self.add(odd, self.going_on(odd, flows).unwrap_or(own));
                }
            }
        }
    }

    /// The incident of a target whose source is not an anomaly any more: its source was one until a moment ago, or has
    /// most of the `flows` to the target (by initiator), as one that opened many connections and now holds them open.
    fn going_on(&self, odd: &Odd<'_>, flows: Option<&BTreeMap<Address, u64>>) -> Option<(Address, Role)> {
        let &HostWindow { address, end_ns, .. } = odd.window;
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

    fn add(&mut self, odd: &Odd<'_>, key: (Address, Role)) {
        let found = self.by_key.get(&key).copied().or_else(|| self.begin(odd, key));
        let Some(open) = found.and_then(|number| self.open.get_mut(&number)) else {
            self.left_out += 1;
            return;
        };
        let Odd { window, verdict, role } = odd;
        if *role == Role::Source {
            open.source_end_ns = window.end_ns;
        }
        open.evidence += severity(verdict.probability);
        open.incident.start_ns = open.incident.start_ns.min(window.start_ns);
        open.incident.end_ns = open.incident.end_ns.max(window.end_ns);
        open.name(&mut self.index, window.address, *role);
        open.take(verdict);
        if !open.is_witnessed() {
            open.incident.probability = open.oddest;
        }
    }

    fn begin(&mut self, odd: &Odd<'_>, key: (Address, Role)) -> Option<Number> {
        self.open_one(Incident::unusual(odd.window.start_ns, odd.window.end_ns), key)
    }

    /// Opens an incident, if there is room.
    fn open_one(&mut self, incident: Incident, key: (Address, Role)) -> Option<Number> {
        (self.open.len() < MOST_OPEN).then(|| {
            self.begun += 1;
            self.open.insert(self.begun, Open::new(self.begun, incident, key));
            self.by_key.entry(key).or_insert(self.begun);
            self.begun
        })
    }

    /// Takes an incident out. Its hosts stay suspect if it was reported, until the index forgets them.
    fn take_out(&mut self, number: Number) -> Option<Open> {
        let open = self.open.remove(&number)?;
        if self.by_key.get(&open.key) == Some(&number) {
            self.by_key.remove(&open.key);
        }
        self.index.end(&open.hosts, number, open.told);
        Some(open)
    }

    /// Numbers the incidents that have become certain, and takes out those that are over.
    fn tell(&mut self, now_ns: u64) -> Vec<(State, Incident)> {
        let mut news = self.take_news();
        for open in self.open.values_mut() {
            let Open { incident, hosts, told, evidence, .. } = open;
            if !*told && *evidence >= CERTAIN {
                *told = true;
                self.index.tell(hosts);
                self.told += 1;
                incident.number = self.told;
                news.push((State::Open, incident.clone()));
            }
        }
        let is_over = |open: &Open| open.incident.end_ns.saturating_add(open.quiet_ns()) <= now_ns;
        let over: Vec<Number> = self.open.iter().filter(|(_, open)| is_over(open)).map(|(number, _)| *number).collect();
        for number in over {
            let Some(open) = self.take_out(number) else { continue };
            if open.told {
                self.ended.push_back((now_ns, open.hosts));
                news.push((State::Closed, open.incident));
            }
        }
        let is_past = |(end_ns, _): &(u64, Members)| end_ns.saturating_add(SUSPECT_NS) <= now_ns;
        while self.ended.front().is_some_and(is_past)
            && let Some((_, hosts)) = self.ended.pop_front()
        {
            self.index.forget(&hosts);
        }
        news
    }
}

/// Whether what is odd is what the host did, or what was done to it: by the larger part of the reasons.
fn role(reasons: &[Reason]) -> Role {
    let share = |role: &str| -> f64 {
        reasons.iter().filter(|reason| reason.column.starts_with(role)).map(|reason| reason.share).sum()
    };
    if share("destination_") > share("source_") { Role::Target } else { Role::Source }
}
