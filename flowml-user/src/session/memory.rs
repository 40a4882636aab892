//! Who opened the sessions that ended, for those that continue them.

use std::collections::HashMap;

use ahash::RandomState;
use flowml_common::flow::FlowKey;
use flowml_common::packet::Sender;
use serde::{Deserialize, Serialize};

/// Sessions of a generation. Two of them take at most 16 MiB, whatever comes.
const CAPACITY: usize = 1 << 16;

/// The initiators of at least the last [`CAPACITY`] sessions that are remembered, and of at most twice as many: when a
/// generation is full, that before it is forgotten.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Memory {
    young: HashMap<FlowKey, Sender, RandomState>,
    old: HashMap<FlowKey, Sender, RandomState>,
}

impl Memory {
    /// Remembers who opened the session that has ended.
    pub(super) fn keep(&mut self, key: FlowKey, initiator: Sender) {
        if self.young.len() >= CAPACITY {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, initiator);
    }

    /// Who opened the last session with this key, which is forgotten.
    pub(super) fn take(&mut self, key: &FlowKey) -> Option<Sender> {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{part_of, udp};
    use super::*;

    #[test]
    fn the_last_are_remembered_and_not_more_than_two_generations() {
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
