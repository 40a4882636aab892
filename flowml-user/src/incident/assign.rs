//! Assigns anomalous host windows to incidents: to that of their source, or of their target.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ahash::RandomState;
use flowml_common::flow::Address;

use super::event::{Incident, Role, severity};
use super::index::Number;
use super::open::Open;
use super::unusual::Unusual;
use super::{Incidents, Link, TRAILING_NS};
use crate::features::HostWindow;

/// If more anomalous sources than this have flows to one host, they are one attack on that host.
pub(super) const MULTI_SOURCE_MIN: usize = 4;

/// A source with at most this many flows in its window has done hardly anything.
const SLIGHT: f64 = 2.0;

impl Incidents {
    /// Assigns each anomaly to its incident.
    pub(super) fn assign(&mut self, unusual: &BTreeMap<Address, Unusual<'_>>) {
        // There may be a hundred thousand links, most of hosts without an anomaly.
        let roles: HashMap<Address, Role, RandomState> =
            unusual.iter().map(|(address, unusual)| (*address, unusual.role)).collect();
        let is = |address: &Address, role| roles.get(address) == Some(&role);
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
        let Unusual { window, verdict, role, is_rare } = unusual;
        if *role == Role::Source {
            open.source_end_ns = window.end_ns;
        }
        open.evidence += severity(verdict.probability);
        open.is_rare |= *is_rare;
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
}
