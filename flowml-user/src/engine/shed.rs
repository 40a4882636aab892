//! Work left out of an interval under overload: makes aggregate records of flows of one packet, and counts the rest.

use flowml_common::flow::{FlowKey, FlowStats, Sender};

use crate::export::{Level, Shedding};
use crate::features::{Aggregate, Aggregates};
use crate::record::Clock;
use crate::session::{Ended, Overflow};

/// The current level, and what was left out since the interval began.
pub(super) struct Shed {
    /// The level of overload.
    pub(super) level: Level,
    aggregates: Aggregates,
    left_out: Shedding,
}

impl Shed {
    /// Starts with nothing left out. `seed` samples the initiators of aggregate records.
    pub(super) fn new(seed: u64) -> Self {
        Self { level: Level::None, aggregates: Aggregates::with_seed(seed), left_out: Shedding::default() }
    }

    /// Whether the work of `level` is left out.
    pub(super) fn leaves_out(&self, level: Level) -> bool {
        self.level >= level
    }

    /// Counts work of `level` that was left out.
    pub(super) fn count(&mut self, level: Level, number: u64) {
        self.left_out.count(level, number);
    }

    /// Adds a flow of one packet to an aggregate record instead of writing a record.
    pub(super) fn aggregate(&mut self, key: &FlowKey, stats: &FlowStats, initiator: Sender) {
        self.aggregates.add(key, stats, initiator);
        self.left_out.aggregated.add(stats.packets(), stats.frame_bytes());
        self.left_out.count(Level::Records, 1);
    }

    /// The same for a flow that had a session.
    pub(super) fn aggregate_ended(&mut self, Ended { key, stats, initiator, .. }: &Ended) {
        self.aggregate(key, stats, initiator.sender);
    }

    /// Counts sessions that exceeded the capacity.
    pub(super) fn overflow(&mut self, Overflow { displaced, passed_by }: Overflow) {
        self.left_out.displaced += displaced;
        self.left_out.count(Level::Sessions, passed_by);
    }

    /// Returns the aggregate records of the interval that ends, and the counts of everything left out in it.
    pub(super) fn end_interval(&mut self, clock: Clock) -> (Vec<Aggregate>, Shedding) {
        (self.aggregates.take(clock), std::mem::take(&mut self.left_out))
    }
}
