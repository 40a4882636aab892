//! The incidents of each host: one look-up in a hash table, however many incidents there are.

#[cfg(test)]
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

use super::event::Role;

/// The number of an open incident. Incidents are numbered in the order of their start, reported or not.
pub(super) type Number = u64;

/// The hosts of an incident.
pub(super) type Members = HashSet<(Address, Role), RandomState>;

/// All hosts of the incidents that are open or ended recently.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Index {
    hosts: HashMap<Address, Memberships, RandomState>,
    /// Number of look-ups so far.
    #[serde(skip)]
    #[cfg(test)]
    pub(super) looks: Cell<u64>,
}

/// The incidents of a host. A host that is both source and target of an incident counts twice.
#[derive(Default, Serialize, Deserialize)]
struct Memberships {
    open: BTreeSet<Number>,
    /// Number of open incidents that were reported.
    reported: u32,
    ended: u32,
}

impl Index {
    /// Adds a host to an open incident.
    pub(super) fn enter(&mut self, host: Address, number: Number, reported: bool) {
        let memberships = self.hosts.entry(host).or_default();
        memberships.open.insert(number);
        memberships.reported += u32::from(reported);
    }

    /// Records that an open incident was reported.
    pub(super) fn report(&mut self, members: &Members) {
        self.change(members, |memberships| memberships.reported += 1);
    }

    /// Ends an open incident. If it was reported, its hosts stay suspect until [`Self::forget`].
    pub(super) fn end(&mut self, members: &Members, number: Number, reported: bool) {
        self.change(members, |memberships| {
            memberships.open.remove(&number);
            memberships.reported -= u32::from(reported);
            memberships.ended += u32::from(reported);
        });
    }

    /// Removes hosts from an open incident, as if they had never been in it.
    pub(super) fn leave(&mut self, members: &Members, number: Number, reported: bool) {
        self.end(members, number, reported);
        if reported {
            self.forget(members);
        }
    }

    /// Ends the suspicion against the hosts of an ended incident.
    pub(super) fn forget(&mut self, members: &Members) {
        self.change(members, |memberships| memberships.ended -= 1);
    }

    /// Removes all hosts.
    pub(super) fn clear(&mut self) {
        self.hosts.clear();
    }

    /// Whether a host is in an incident that is reported and open, or that ended recently.
    pub(super) fn is_suspect(&self, host: Address) -> bool {
        self.of(host).is_some_and(|memberships| memberships.reported + memberships.ended > 0)
    }

    /// The oldest open incident of a host.
    pub(super) fn first(&self, host: Address) -> Option<Number> {
        self.of(host)?.open.first().copied()
    }

    /// The open incidents of a host, the oldest first.
    pub(super) fn all(&self, host: Address) -> impl Iterator<Item = Number> {
        self.of(host).into_iter().flat_map(|memberships| &memberships.open).copied()
    }

    fn of(&self, host: Address) -> Option<&Memberships> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.hosts.get(&host)
    }

    fn change(&mut self, members: &Members, change: impl Fn(&mut Memberships)) {
        for (host, _) in members {
            let Some(memberships) = self.hosts.get_mut(host) else { continue };
            change(memberships);
            if memberships.open.is_empty() && memberships.ended == 0 {
                self.hosts.remove(host);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }
}
