//! A map of bounded size: two generations of entries, the older of which is dropped.

use std::hash::Hash;

use ahash::RandomState;
use indexmap::IndexMap;
use indexmap::map::RawEntryApiV1;
use indexmap::map::raw_entry_v1::RawEntryMut;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// The default lifetime of a generation, ns.
const GENERATION_NS: u64 = 300_000_000_000;

/// Entries by key. Each operation needs one hash and at most three look-ups, whatever the keys: both generations have the
/// same hash secret. The entries of a generation are together in memory: a new one is appended, which is no random
/// access.
#[derive(Deserialize)]
#[serde(from = "Saved<K, V>", bound(deserialize = "K: Eq + Hash + Deserialize<'de>, V: Deserialize<'de>"))]
pub(crate) struct Generations<K, V> {
    young: IndexMap<K, V, RandomState>,
    old: IndexMap<K, V, RandomState>,
    capacity: usize,
    lasts_ns: u64,
    began_ns: u64,
}

/// Whether both keys are equal. Tests count the comparisons.
fn is_same<K: Eq>(known: &K, key: &K) -> bool {
    #[cfg(test)]
    COMPARISONS.with(|count| count.set(count.get() + 1));
    known == key
}

#[cfg(test)]
thread_local! {
    /// Number of comparisons of this thread.
    static COMPARISONS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The number of comparisons in all maps of this thread since the last call.
#[cfg(test)]
pub(crate) fn comparisons() -> u64 {
    COMPARISONS.take()
}

/// The serialized map, without its hash secret: loading builds the tables again.
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
struct Entries<'a, K, V>(&'a IndexMap<K, V, RandomState>);

impl<K: Serialize, V: Serialize> Serialize for Entries<'_, K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0)
    }
}

impl<K: Eq + Hash, V> From<Saved<K, V>> for Generations<K, V> {
    fn from(Saved { young, old, capacity, lasts_ns, began_ns }: Saved<K, V>) -> Self {
        let mut map = Self::lasting(capacity, lasts_ns);
        map.young.extend(young);
        map.old.extend(old);
        Self { began_ns, ..map }
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
        let secret = RandomState::default();
        let [young, old] = [secret.clone(), secret].map(IndexMap::with_hasher);
        Self { young, old, capacity, lasts_ns, began_ns: 0 }
    }

    /// Starts a new generation if the young one is too old or full.
    fn turn(&mut self, now_ns: u64) {
        let is_full = self.young.len() >= self.capacity;
        if !is_full && now_ns.saturating_sub(self.began_ns) < self.lasts_ns {
            return;
        }
        std::mem::swap(&mut self.old, &mut self.young);
        if is_full {
            // The young generation will probably become full again, so its memory is used again.
            self.young.clear();
        } else {
            self.young = IndexMap::with_hasher(self.old.hasher().clone());
        }
        self.began_ns = now_ns;
    }

    /// The entry of `key`, made with `make` if there is none.
    pub(crate) fn entry(&mut self, key: K, now_ns: u64, make: impl FnOnce() -> V) -> &mut V {
        let hash = self.hash(&key);
        if let Some(place) = place(&self.young, hash, &key) {
            return &mut self.young[place];
        }
        self.turn(now_ns);
        let (key, value) = remove(&mut self.old, hash, &key).unwrap_or_else(|| (key, make()));
        match self.young.raw_entry_mut_v1().from_hash(hash, |known| is_same(known, &key)) {
            RawEntryMut::Occupied(known) => known.into_mut(),
            RawEntryMut::Vacant(room) => room.insert_hashed_nocheck(hash, key, value).1,
        }
    }

    /// The entry of `key`, if there is one.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hash(key);
        match place(&self.young, hash, key) {
            Some(place) => Some(&mut self.young[place]),
            None => place(&self.old, hash, key).map(|place| &mut self.old[place]),
        }
    }

    /// The entry of `key`, if there is one, for reading.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hash(key);
        [&self.young, &self.old].into_iter().find_map(|map| place(map, hash, key).map(|place| &map[place]))
    }

    /// Removes the entry of `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        let hash = self.hash(key);
        if remove(&mut self.young, hash, key).is_none() {
            remove(&mut self.old, hash, key);
        }
    }

    fn hash(&self, key: &K) -> u64 {
        self.young.hasher().hash_one(key)
    }

    /// All entries, in unspecified order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.young.iter_mut().chain(&mut self.old)
    }

    /// Removes the entries for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.young.retain(&mut keep);
        self.old.retain(keep);
    }

    /// Whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// The place of a key with this hash.
fn place<K: Eq, V>(map: &IndexMap<K, V, RandomState>, hash: u64, key: &K) -> Option<usize> {
    map.raw_entry_v1().index_from_hash(hash, |known| is_same(known, key))
}

/// Removes the entry of a key with this hash.
fn remove<K: Eq + Hash, V>(map: &mut IndexMap<K, V, RandomState>, hash: u64, key: &K) -> Option<(K, V)> {
    match map.raw_entry_mut_v1().from_hash(hash, |known| is_same(known, key)) {
        RawEntryMut::Occupied(known) => Some(known.swap_remove_entry()),
        RawEntryMut::Vacant(_) => None,
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
