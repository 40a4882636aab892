//! The initiators of ended sessions, for sessions that continue them.

use ahash::RandomState;
use flowml_common::flow::{FlowKey, Sender};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Number of sessions in a generation. Two generations take at most 16 MiB.
const CAPACITY: usize = 1 << 16;

/// The initiators of the last sessions: of at least [`CAPACITY`] and at most twice as many. When a generation is full,
/// the previous one is dropped.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Memory {
    young: IndexMap<FlowKey, Sender, RandomState>,
    old: IndexMap<FlowKey, Sender, RandomState>,
}

impl Memory {
    /// Stores the initiator of an ended session.
    pub(super) fn keep(&mut self, key: FlowKey, initiator: Sender) {
        if self.young.len() >= CAPACITY {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, initiator);
    }

    /// Removes and returns the initiator of the last session with this key.
    pub(super) fn take(&mut self, key: &FlowKey) -> Option<Sender> {
        let old = self.old.swap_remove(key);
        self.young.swap_remove(key).or(old)
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{part_of, udp};
    use super::*;

    #[test]
    fn the_last_sessions_are_kept_in_at_most_two_generations() {
        let key = |n: usize| {
            part_of(&[udp(0, &format!("10.0.{}.{}:1", n >> 8 & 255, n & 255), &format!("10.9.0.{}:2", n >> 16), 0)]).key
        };
        let mut memory = Memory::default();
        let count = 3 * CAPACITY;
        for n in 0..count {
            memory.keep(key(n), Sender::Upper);
            assert!(memory.young.len() + memory.old.len() <= 2 * CAPACITY);
        }
        assert_eq!(memory.take(&key(0)), None);
        assert_eq!(memory.take(&key(count - CAPACITY)), Some(Sender::Upper));
        assert_eq!(memory.take(&key(count - CAPACITY)), None);
        memory.clear();
        assert_eq!(memory.take(&key(count - 1)), None);
    }
}
