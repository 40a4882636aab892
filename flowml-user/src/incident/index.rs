//! Which incidents a host is in: one look-up in a hash table, however many incidents there are.

#[cfg(test)]
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};

use ahash::RandomState;
use flowml_common::flow::Address;
use serde::{Deserialize, Serialize};

use super::Role;

/// The number of an open incident: they are numbered in the order of their begin, reported or not.
pub(super) type Number = u64;

/// The hosts of an incident.
pub(super) type Members = HashSet<(Address, Role), RandomState>;

/// All hosts of the incidents that are open, or ended a short time ago.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Index {
    hosts: HashMap<Address, Memberships, RandomState>,
    /// Look-ups so far.
    #[serde(skip)]
    #[cfg(test)]
    pub(super) looks: Cell<u64>,
}

/// What a host is part of. Who is source and target of an incident counts twice.
#[derive(Default, Serialize, Deserialize)]
struct Memberships {
    open: BTreeSet<Number>,
    /// How many of the open ones are reported.
    told: u32,
    ended: u32,
}

impl Index {
    /// A host has come to an open incident.
    pub(super) fn enter(&mut self, host: Address, number: Number, told: bool) {
        let memberships = self.hosts.entry(host).or_default();
        memberships.open.insert(number);
        memberships.told += u32::from(told);
    }

    /// An open incident is reported from now on.
    pub(super) fn tell(&mut self, members: &Members) {
        self.change(members, |memberships| memberships.told += 1);
    }

    /// An open incident is over. If it was reported, its hosts stay suspect until [`Self::forget`].
    pub(super) fn end(&mut self, members: &Members, number: Number, told: bool) {
        self.change(members, |memberships| {
            memberships.open.remove(&number);
            memberships.told -= u32::from(told);
            memberships.ended += u32::from(told);
        });
    }

    /// These hosts are no part of an open incident any more, and were none.
    pub(super) fn leave(&mut self, members: &Members, number: Number, told: bool) {
        self.end(members, number, told);
        if told {
            self.forget(members);
        }
    }

    /// The hosts of an incident that ended are suspect no more.
    pub(super) fn forget(&mut self, members: &Members) {
        self.change(members, |memberships| memberships.ended -= 1);
    }

    /// Forgets all hosts.
    pub(super) fn clear(&mut self) {
        self.hosts.clear();
    }

    /// Whether a host is part of an incident that is reported, or ended a short time ago.
    pub(super) fn is_suspect(&self, host: Address) -> bool {
        self.of(host).is_some_and(|memberships| memberships.told + memberships.ended > 0)
    }

    /// The oldest of the open incidents that a host is in.
    pub(super) fn first(&self, host: Address) -> Option<Number> {
        self.of(host)?.open.first().copied()
    }

    /// The open incidents that a host is in, the oldest first.
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
