//! Timers of many sessions: numbers in order of the tick at which to look at them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The resolution, ns.
const TICK_NS: u64 = 100_000_000;

/// Numbers by tick. What is scheduled is never moved: whoever reschedules a number remembers the tick that counts, and
/// ignores the number when it comes under another.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Timers(BTreeMap<u64, Vec<u32>>);

impl Timers {
    /// The first tick at or after `deadline_ns`.
    pub(super) const fn tick(deadline_ns: u64) -> u64 {
        deadline_ns.div_ceil(TICK_NS)
    }

    /// Schedules `number` for the first tick at or after `deadline_ns`, and answers that tick.
    pub(super) fn schedule(&mut self, number: u32, deadline_ns: u64) -> u64 {
        let tick = Self::tick(deadline_ns);
        self.0.entry(tick).or_default().push(number);
        tick
    }

    /// Takes the earliest tick that has come by `now_ns`, with its numbers: the first of them, where there are more than
    /// `at_most`.
    pub(super) fn take_due(&mut self, now_ns: u64, at_most: usize) -> Option<(u64, Vec<u32>)> {
        let mut entry = self.0.first_entry().filter(|entry| *entry.key() <= now_ns / TICK_NS)?;
        if entry.get().len() <= at_most {
            return Some(entry.remove_entry());
        }
        let rest = entry.get_mut().split_off(at_most);
        Some((*entry.key(), std::mem::replace(entry.get_mut(), rest)))
    }

    /// When the earliest tick comes, ns.
    pub(super) fn earliest_ns(&self) -> Option<u64> {
        self.0.first_key_value().map(|(tick, _)| tick.saturating_mul(TICK_NS))
    }

    /// Takes one number of the earliest tick, come or not.
    pub(super) fn take_earliest(&mut self) -> Option<(u64, u32)> {
        loop {
            let mut entry = self.0.first_entry()?;
            match entry.get_mut().pop() {
                Some(number) => return Some((*entry.key(), number)),
                None => drop(entry.remove()),
            }
        }
    }

    /// All numbers, also those that come under another tick by now.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &u32> {
        self.0.values().flatten()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
