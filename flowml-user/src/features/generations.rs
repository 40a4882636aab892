//! A map of bounded size: two generations of entries, the older of which is dropped.

use std::hash::Hash;

use ahash::RandomState;
use hashbrown::HashTable;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// The default lifetime of a generation, ns.
const GENERATION_NS: u64 = 300_000_000_000;

/// Entries by key. Each operation needs one hash and at most three look-ups, whatever the keys: each map has its own
/// hash secret.
#[derive(Deserialize)]
#[serde(from = "Saved<K, V>", bound(deserialize = "K: Eq + Hash + Deserialize<'de>, V: Deserialize<'de>"))]
pub(crate) struct Generations<K, V> {
    young: HashTable<(K, V)>,
    old: HashTable<(K, V)>,
    secret: RandomState,
    capacity: usize,
    lasts_ns: u64,
    began_ns: u64,
}

/// The serialized map, without its secret: loading builds the tables again.
#[derive(Deserialize)]
struct Saved<K, V> {
    young: Vec<(K, V)>,
    old: Vec<(K, V)>,
    capacity: usize,
    lasts_ns: u64,
    began_ns: u64,
}

impl<K: Serialize, V: Serialize> Serialize for Generations<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut saved = to.serialize_struct("Saved", 5)?;
        saved.serialize_field("young", &Entries(&self.young))?;
        saved.serialize_field("old", &Entries(&self.old))?;
        saved.serialize_field("capacity", &self.capacity)?;
        saved.serialize_field("lasts_ns", &self.lasts_ns)?;
        saved.serialize_field("began_ns", &self.began_ns)?;
        saved.end()
    }
}

/// Serializes the entries of a generation as a sequence.
struct Entries<'a, K, V>(&'a HashTable<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for Entries<'_, K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0)
    }
}

impl<K: Eq + Hash, V> From<Saved<K, V>> for Generations<K, V> {
    fn from(Saved { young, old, capacity, lasts_ns, began_ns }: Saved<K, V>) -> Self {
        let mut generations = Self { began_ns, ..Self::lasting(capacity, lasts_ns) };
        for (table, entries) in [(&mut generations.young, young), (&mut generations.old, old)] {
            for entry in entries {
                let hash = generations.secret.hash_one(&entry.0);
                table.insert_unique(hash, entry, |(key, _)| generations.secret.hash_one(key));
            }
        }
        generations
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// A map with at most `capacity` entries in each generation. A generation lasts five minutes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self::lasting(capacity, GENERATION_NS)
    }

    /// A map with at most `capacity` entries in each generation. Entries that were not used for one to two times
    /// `lasts_ns` are dropped.
    pub(crate) fn lasting(capacity: usize, lasts_ns: u64) -> Self {
        let secret = RandomState::new();
        Self { young: HashTable::new(), old: HashTable::new(), secret, capacity, lasts_ns, began_ns: 0 }
    }

    /// Starts a new generation if the young one is too old or full.
    fn turn(&mut self, now_ns: u64) {
        if self.young.len() >= self.capacity || now_ns.saturating_sub(self.began_ns) >= self.lasts_ns {
            self.old = std::mem::take(&mut self.young);
            self.began_ns = now_ns;
        }
    }

    /// The entry of `key`, made with `make` if there is none.
    pub(crate) fn entry(&mut self, key: K, now_ns: u64, make: impl FnOnce() -> V) -> &mut V {
        let hash = self.secret.hash_one(&key);
        let bucket = self.young.find_bucket_index(hash, |(known, _)| *known == key).unwrap_or_else(|| {
            self.turn(now_ns);
            let moved = self.old.find_entry(hash, |(known, _)| *known == key).map(|found| found.remove().0);
            let entry = moved.unwrap_or_else(|_| (key, make()));
            self.young.insert_unique(hash, entry, |(key, _)| self.secret.hash_one(key)).bucket_index()
        });
        &mut self.young.get_bucket_mut(bucket).expect("it was found or inserted there").1
    }

    /// The entry of `key`, if there is one.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if self.is_empty() {
            return None;
        }
        let hash = self.secret.hash_one(key);
        let found = self.young.find_mut(hash, |(known, _)| known == key);
        found.or_else(|| self.old.find_mut(hash, |(known, _)| known == key)).map(|(_, value)| value)
    }

    /// The entry of `key`, if there is one, for reading.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let hash = self.secret.hash_one(key);
        let found = self.young.find(hash, |(known, _)| known == key);
        found.or_else(|| self.old.find(hash, |(known, _)| known == key)).map(|(_, value)| value)
    }

    /// Removes the entry of `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        if self.is_empty() {
            return;
        }
        let hash = self.secret.hash_one(key);
        for table in [&mut self.young, &mut self.old] {
            if let Ok(found) = table.find_entry(hash, |(known, _)| known == key) {
                found.remove();
                return;
            }
        }
    }

    /// All entries, in unspecified order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.young.iter_mut().chain(&mut self.old).map(|(key, value)| (&*key, value))
    }

    /// Removes the entries for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.young.retain(|(key, value)| keep(key, value));
        self.old.retain(|(key, value)| keep(key, value));
    }

    /// Whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_entries_stay_and_the_size_is_bounded() {
        let mut map = Generations::new(100);
        for n in 0..10_000u32 {
            *map.entry(u32::MAX, u64::from(n), || 0u64) += 1;
            map.entry(n, u64::from(n), || 0);
            assert!(map.len() <= 201, "{}", map.len());
        }
        assert_eq!(map.get_mut(&u32::MAX).copied(), Some(10_000));
        assert_eq!(map.get_mut(&5), None, "it was dropped to make room");
        map.entry(1, 2 * GENERATION_NS, || 0);
        map.entry(2, 4 * GENERATION_NS, || 0);
        assert_eq!(map.get_mut(&u32::MAX), None, "it was not used for two generations");
    }
}
