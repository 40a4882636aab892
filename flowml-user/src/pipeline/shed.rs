//! What is left out of an interval under overload: flows of one packet that become aggregate records, and the counts.

use flowml_common::flow::{FlowKey, FlowStats};
use flowml_common::packet::Sender;

use crate::features::{Aggregate, Aggregates};
use crate::record::Clock;
use crate::session::{Ended, Overflow};
use crate::sink::{Level, Shedding};

/// What is left out now, and since the interval began.
pub(super) struct Shed {
    /// How much is left out.
    pub(super) level: Level,
    aggregates: Aggregates,
    left_out: Shedding,
}

impl Shed {
    /// Nothing; initiators of aggregate records are sampled by `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { level: Level::None, aggregates: Aggregates::with_seed(seed), left_out: Shedding::default() }
    }

    /// Whether the step of `level` is taken.
    pub(super) fn leaves_out(&self, level: Level) -> bool {
        self.level >= level
    }

    /// Counts what the step of a level left out.
    pub(super) fn count(&mut self, level: Level, number: u64) {
        self.left_out.count(level, number);
    }

    /// Lets a flow of one packet be a part of an aggregate record instead of a record.
    pub(super) fn aggregate(&mut self, key: &FlowKey, stats: &FlowStats, initiator: Sender) {
        self.aggregates.add(key, stats, initiator);
        self.left_out.aggregated.add(stats.packets(), stats.frame_bytes());
        self.left_out.count(Level::Records, 1);
    }

    /// The same, of one that had a session.
    pub(super) fn aggregate_ended(&mut self, Ended { key, stats, initiator, .. }: &Ended) {
        self.aggregate(key, stats, initiator.sender);
    }

    /// Counts sessions for which there was no room.
    pub(super) fn overflow(&mut self, Overflow { displaced, passed_by }: Overflow) {
        self.left_out.displaced += displaced;
        self.left_out.count(Level::Sessions, passed_by);
    }

    /// The aggregate records of the interval that ends, and all that was left out in it.
    pub(super) fn end_interval(&mut self, clock: Clock) -> (Vec<Aggregate>, Shedding) {
        (self.aggregates.take(clock), std::mem::take(&mut self.left_out))
    }
}
