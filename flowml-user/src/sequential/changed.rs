//! Findings that were not reported yet: each key once, in order.

use std::collections::HashSet;
use std::hash::Hash;

use ahash::RandomState;
use serde::{Deserialize, Serialize};

/// Keys of findings. It needs memory only for different keys, however often one is added.
#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Eq + Hash + Deserialize<'de>"))]
pub(super) struct Changed<K>(HashSet<K, RandomState>);

impl<K> Default for Changed<K> {
    fn default() -> Self {
        Self(HashSet::default())
    }
}

impl<K: Eq + Hash + Ord> Changed<K> {
    /// Adds a key.
    pub(super) fn add(&mut self, key: K) {
        self.0.insert(key);
    }

    /// Removes and returns all keys in ascending order.
    pub(super) fn take(&mut self) -> impl Iterator<Item = K> + use<K> {
        let mut keys: Vec<K> = self.0.drain().collect();
        keys.sort_unstable();
        keys.into_iter()
    }
}
