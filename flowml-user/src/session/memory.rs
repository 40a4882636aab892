//! The initiators of ended sessions, for sessions that continue them.

use std::collections::HashMap;

use ahash::RandomState;
use flowml_common::flow::{FlowKey, Sender};
use serde::{Deserialize, Serialize};

use super::timeouts::EndReason;
use crate::process::secret::Secret;

/// Number of sessions in a generation. All generations take at most 16 MiB.
const CAPACITY: usize = 1 << 16;

/// The initiators of the last sessions, by the hashes of their keys.
#[derive(Serialize, Deserialize)]
pub(super) struct Memory {
    secret: Secret,
    /// Of sessions that ended by the idle timeout or for lack of room.
    silent: Recent,
    /// Of sessions that TCP ended. Separate, so that many short connections do not displace the others.
    closed: Recent,
}

/// The initiators of at least [`CAPACITY`] and at most twice as many sessions. When a generation is full, the previous
/// one is dropped.
#[derive(Default, Serialize, Deserialize)]
struct Recent {
    young: HashMap<u64, Sender, RandomState>,
    old: HashMap<u64, Sender, RandomState>,
}

impl Default for Memory {
    fn default() -> Self {
        let (silent, closed) = Default::default();
        Self { secret: Secret::new(), silent, closed }
    }
}

impl Memory {
    /// Stores the initiator of a session that ended for this reason, if it is one after which the session may continue.
    pub(super) fn keep(&mut self, key: &FlowKey, initiator: Sender, reason: EndReason) {
        let recent = match reason {
            EndReason::IdleTimeout | EndReason::LackOfResources => &mut self.silent,
            EndReason::EndOfFlow => &mut self.closed,
            EndReason::ActiveTimeout | EndReason::ForcedEnd => return,
        };
        recent.keep(self.secret.hash(key), initiator);
    }

    /// Removes and returns the initiator of the last session with this key. One that fell silent comes first.
    pub(super) fn take(&mut self, key: &FlowKey) -> Option<Sender> {
        let hash = self.secret.hash(key);
        let [silent, closed] = [&mut self.silent, &mut self.closed].map(|recent| recent.take(hash));
        silent.or(closed)
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        (self.silent, self.closed) = Default::default();
    }
}

impl Recent {
    fn keep(&mut self, hash: u64, initiator: Sender) {
        if self.young.len() >= CAPACITY {
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
        }
        self.young.insert(hash, initiator);
    }

    fn take(&mut self, hash: u64) -> Option<Sender> {
        let old = self.old.remove(&hash);
        self.young.remove(&hash).or(old)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{partial_of, udp};
    use super::*;

    #[test]
    fn the_last_sessions_are_kept_in_at_most_two_generations() {
        let key = |n: usize| {
            partial_of(&[udp(0, &format!("10.0.{}.{}:1", n >> 8 & 255, n & 255), &format!("10.9.0.{}:2", n >> 16), 0)])
                .key
        };
        let mut memory = Memory::default();
        let count = 3 * CAPACITY;
        for n in 0..count {
            memory.keep(&key(n), Sender::Upper, EndReason::IdleTimeout);
            assert!(memory.silent.young.len() + memory.silent.old.len() <= 2 * CAPACITY);
        }
        assert_eq!(memory.take(&key(0)), None);
        assert_eq!(memory.take(&key(count - CAPACITY)), Some(Sender::Upper));
        assert_eq!(memory.take(&key(count - CAPACITY)), None);
        memory.clear();
        assert_eq!(memory.take(&key(count - 1)), None);
    }
}
