//! A secret with which keys are hashed, which is saved with the hashes.

use std::hash::Hash;

use ahash::RandomState;
use serde::{Deserialize, Serialize};

/// A hasher of keys. Nobody outside the process can choose keys with the same hash.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
pub(crate) struct Secret {
    words: [u64; 4],
    state: RandomState,
}

impl Secret {
    /// A random secret.
    pub(crate) fn new() -> Self {
        rand::random::<[u64; 4]>().into()
    }

    /// The hash of a key. Of a hundred thousand keys, two have the same one with a probability below 10⁻⁹.
    pub(crate) fn hash(&self, key: &impl Hash) -> u64 {
        self.state.hash_one(key)
    }
}

impl From<[u64; 4]> for Secret {
    fn from(words: [u64; 4]) -> Self {
        let [a, b, c, d] = words;
        Self { words, state: RandomState::with_seeds(a, b, c, d) }
    }
}

impl From<Secret> for [u64; 4] {
    fn from(secret: Secret) -> Self {
        secret.words
    }
}
