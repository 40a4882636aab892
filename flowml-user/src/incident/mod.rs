//! Incidents: anomalous host windows with one cause, joined over hosts and time.
//!
//! A scan makes two hosts anomalous as long as it lasts, and a flood with spoofed sources makes tens of thousands
//! anomalous. To an operator each is one event. A window is anomalous because of the activity of its host towards
//! others (a source), or because of their activity towards it (a target). A source opens an incident, and the targets
//! of its flows belong to it. The target opens the incident instead, and its sources belong to it, in two cases: more
//! than a few anomalous sources have flows to it, or a source with hardly any flows is anomalous together with its
//! target.
//!
//! A finding of a sequential test (`crate::sequential`) opens an incident of a kind, with the hosts that the test names.
//! Anomalous windows of these hosts, and of hosts with flows to or from them, belong to it. If anomalous windows opened
//! the incident first, it takes the kind and the hosts of the finding, because a model cannot decide who attacks whom.
//!
//! ```
//! use flowml_user::incident::Incidents;
//!
//! let mut incidents = Incidents::default();
//! assert!(incidents.observe(1_000_000_000, 1e-6, std::iter::empty()).is_empty());
//! assert_eq!(incidents.totals(), (0, 0));
//! ```

mod assign;
mod event;
mod findings;
mod index;
mod open;
#[cfg(test)]
mod tests;
mod unusual;

use std::collections::{BTreeMap, HashMap, VecDeque};

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

pub use self::event::{Hosts, Incident, Role, State};

use self::index::{Index, Members, Number};
use self::open::Open;
use self::unusual::Unusual;
use crate::features::HostWindow;
use crate::learning::Verdict;
use crate::process::unix_time::now_ms;

/// An incident ends when it had no anomalous window for this time, ns.
const CLOSE_AFTER_NS: u64 = 10_000_000_000;

/// Anomalous windows are an incident when their severities add up to this: three windows with a probability of 10⁻⁴,
/// two with 10⁻⁵, or one with 10⁻¹⁰. The probability of one of them must also be below the incident level: at most one
/// window of normal traffic is expected below it in the period for which one false incident is accepted. Windows of one
/// event depend on each other: they overlap, and the activity of a host lasts. Many of them are therefore no stronger
/// evidence than the rarest.
const REPORT_THRESHOLD: f64 = 10.0;

/// Time that the windows of an interval cover, ns: a window and an interval. Activity in this time may be the cause of
/// an anomaly.
const TRAILING_NS: u64 = 3_000_000_000;

/// The time for which the hosts of an incident stay suspect after its end, ns. Flows that became silent with it end by
/// the idle timeout, 15 s by default.
const SUSPECT_NS: u64 = 10_000_000_000;

/// The largest number of open incidents. Anomalies that would open more are counted.
const MAX_OPEN: usize = 4096;

/// Flows with the same initiator and responder that were drained one after the other.
#[derive(Serialize, Deserialize)]
struct Link {
    initiator: Address,
    responder: Address,
    flows: u64,
}

/// All incidents of a run.
#[derive(Default, Serialize, Deserialize)]
pub struct Incidents {
    /// The open incidents, the oldest first.
    open: BTreeMap<Number, Open>,
    by_key: HashMap<(Address, Role), Number, RandomState>,
    /// Number of incidents opened so far, reported or not.
    begun: Number,
    /// The ends of recent incidents, and their hosts.
    ended: VecDeque<(u64, Members)>,
    /// The open and recently ended incidents of each host.
    index: Index,
    /// Initiators and responders of the flows drained since the last interval.
    links: Vec<Link>,
    /// The same for the earlier intervals to which the windows reach back, with the ends of these intervals.
    past: VecDeque<(u64, Vec<Link>)>,
    /// Unix time at which their numbering began, ms. It continues with them.
    series_ms: u64,
    reported: u64,
    left_out: u64,
    /// The values of `reported` and `left_out` before this run.
    before: (u64, u64),
    /// Hosts whose activity an operator has labelled as no attack, and the last time of that activity.
    excused: HashMap<Address, u64, RandomState>,
    /// Events of the tests since the last interval.
    events: Vec<(State, Number)>,
}

impl Incidents {
    /// No incidents. Their numbering begins now.
    #[must_use]
    pub(crate) fn starting_now() -> Self {
        Self { series_ms: now_ms(), ..Self::default() }
    }

    /// Records a flow's initiator and responder.
    pub fn link(&mut self, ends: [Address; 2]) {
        let [initiator, responder] = ends;
        // Flows of a scan follow one another.
        match self.links.last_mut() {
            Some(last) if [last.initiator, last.responder] == ends => last.flows += 1,
            _ => self.links.push(Link { initiator, responder, flows: 1 }),
        }
    }

    /// Adds the windows of an interval that ends at `now_ns`, some of which are anomalies. `level` is the incident
    /// level: an incident needs a window with a lower probability. Returns the incidents that were opened, named or
    /// ended.
    pub fn observe<'a>(
        &mut self,
        now_ns: u64,
        level: f64,
        judged: impl Iterator<Item = (&'a HostWindow, Option<&'a Verdict>)>,
    ) -> Vec<(State, Incident)> {
        let unusual: BTreeMap<Address, Unusual<'a>> = judged
            .filter_map(|(window, verdict)| Some((window, verdict.filter(|verdict| verdict.anomaly)?)))
            .map(|(window, verdict)| (window.address, Unusual::new(window, verdict, level)))
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
    pub(crate) fn is_suspect(&self, address: Address) -> bool {
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
    pub(crate) const fn hand_over(&mut self) {
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

    /// Reports incidents whose evidence has become sufficient, and removes ended ones.
    fn report(&mut self, now_ns: u64) -> Vec<(State, Incident)> {
        let mut events = self.take_events();
        for open in self.open.values_mut() {
            let Open { incident, hosts, reported, evidence, is_rare, .. } = open;
            if !*reported && *is_rare && *evidence >= REPORT_THRESHOLD {
                *reported = true;
                self.index.report(hosts);
                self.reported += 1;
                (incident.series_ms, incident.number) = (self.series_ms, self.reported);
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
