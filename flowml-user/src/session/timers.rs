//! Timers of many sessions: numbers in the order of the tick at which to check them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The resolution, in ns.
const TICK_NS: u64 = 100_000_000;

/// Numbers by tick. A scheduled number is never moved. A caller that reschedules a number stores the valid tick, and
/// ignores the number when it comes under another tick.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Timers(BTreeMap<u64, Vec<u32>>);

impl Timers {
    /// The first tick at or after `deadline_ns`.
    pub(super) const fn tick(deadline_ns: u64) -> u64 {
        deadline_ns.div_ceil(TICK_NS)
    }

    /// Schedules `number` for the first tick at or after `deadline_ns`, and returns that tick.
    pub(super) fn schedule(&mut self, number: u32, deadline_ns: u64) -> u64 {
        let tick = Self::tick(deadline_ns);
        self.0.entry(tick).or_default().push(number);
        tick
    }

    /// Removes and returns the earliest tick up to `now_ns`, with its numbers. If there are more than `at_most`, only
    /// the first of them.
    pub(super) fn take_due(&mut self, now_ns: u64, at_most: usize) -> Option<(u64, Vec<u32>)> {
        let mut entry = self.0.first_entry().filter(|entry| *entry.key() <= now_ns / TICK_NS)?;
        if entry.get().len() <= at_most {
            return Some(entry.remove_entry());
        }
        let rest = entry.get_mut().split_off(at_most);
        Some((*entry.key(), std::mem::replace(entry.get_mut(), rest)))
    }

    /// Time of the earliest tick, in ns.
    pub(super) fn earliest_ns(&self) -> Option<u64> {
        self.0.first_key_value().map(|(tick, _)| tick.saturating_mul(TICK_NS))
    }

    /// Removes and returns one number of the earliest tick, even if the tick is in the future.
    pub(super) fn take_earliest(&mut self) -> Option<(u64, u32)> {
        loop {
            let mut entry = self.0.first_entry()?;
            match entry.get_mut().pop() {
                Some(number) => return Some((*entry.key(), number)),
                None => drop(entry.remove()),
            }
        }
    }

    /// All numbers, including those that have since been rescheduled.
    pub(super) fn numbers(&self) -> impl Iterator<Item = &u32> {
        self.0.values().flatten()
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
