//! A map of bounded size: two generations of entries, the older of which is dropped.

use std::hash::Hash;

use ahash::RandomState;
use hashbrown::HashTable;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// The default lifetime of a generation, ns.
const GENERATION_NS: u64 = 300_000_000_000;

/// Entries by key. Each operation computes one hash, and compares it with those of both generations, which have the same
/// hash secret.
#[derive(Deserialize)]
#[serde(from = "Saved<K, V>", bound(deserialize = "K: Eq + Hash + Deserialize<'de>, V: Deserialize<'de>"))]
pub(crate) struct Generations<K, V> {
    young: Generation<K, V>,
    old: Generation<K, V>,
    secret: RandomState,
    capacity: usize,
    lasts_ns: u64,
    began_ns: u64,
    turns: u64,
}

/// The entries of one generation. They are together in memory: a new one is appended, which is no random access.
struct Generation<K, V> {
    places: HashTable<u32>,
    entries: Vec<Entry<K, V>>,
}

struct Entry<K, V> {
    hash: u64,
    key: K,
    value: V,
}

impl<K, V> Default for Generation<K, V> {
    fn default() -> Self {
        Self { places: HashTable::new(), entries: Vec::new() }
    }
}

impl<K: Eq, V> Generation<K, V> {
    /// The place of a key with this hash.
    fn place(&self, hash: u64, key: &K) -> Option<usize> {
        self.places.find(hash, |&place| is_same(&self.entries[place as usize].key, key)).map(|&place| place as usize)
    }

    /// Adds an entry that is not there.
    fn insert(&mut self, hash: u64, key: K, value: V) -> &mut V {
        let (place, entries) = (self.entries.len(), &mut self.entries);
        entries.push(Entry { hash, key, value });
        // A capacity is far below the largest number.
        self.places.insert_unique(hash, place as u32, |&place| entries[place as usize].hash);
        &mut entries[place].value
    }

    /// Removes and returns the value of a key with this hash. The last entry takes its place.
    fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let Self { places, entries } = self;
        let found = places.find_entry(hash, |&place| is_same(&entries[place as usize].key, key)).ok()?;
        let (place, _) = found.remove();
        let last = entries.len() as u32 - 1;
        let removed = entries.swap_remove(place as usize);
        if let Some(moved) = entries.get(place as usize)
            && let Some(own) = places.find_mut(moved.hash, |&place| place == last)
        {
            *own = place;
        }
        Some(removed.value)
    }

    fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let before = self.entries.len();
        self.entries.retain_mut(|entry| keep(&entry.key, &mut entry.value));
        if self.entries.len() < before {
            let Self { places, entries } = self;
            places.clear();
            for (place, entry) in (0..).zip(entries.iter()) {
                places.insert_unique(entry.hash, place, |&place: &u32| entries[place as usize].hash);
            }
        }
    }

    fn clear(&mut self) {
        self.places.clear();
        self.entries.clear();
    }
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
        saved.serialize_field("young", &self.young)?;
        saved.serialize_field("old", &self.old)?;
        saved.serialize_field("capacity", &self.capacity)?;
        saved.serialize_field("lasts_ns", &self.lasts_ns)?;
        saved.serialize_field("began_ns", &self.began_ns)?;
        saved.end()
    }
}

/// The entries of a generation are a sequence of keys and values.
impl<K: Serialize, V: Serialize> Serialize for Generation<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.entries.iter().map(|entry| (&entry.key, &entry.value)))
    }
}

impl<K: Eq + Hash, V> From<Saved<K, V>> for Generations<K, V> {
    fn from(Saved { young, old, capacity, lasts_ns, began_ns }: Saved<K, V>) -> Self {
        let mut map = Self { began_ns, ..Self::lasting(capacity, lasts_ns) };
        // A key that a file has twice gets its first value.
        let entries = young.into_iter().map(|entry| (true, entry)).chain(old.into_iter().map(|entry| (false, entry)));
        for (is_young, (key, value)) in entries {
            let hash = map.hash(&key);
            if map.young.place(hash, &key).or(map.old.place(hash, &key)).is_none() {
                let generation = if is_young { &mut map.young } else { &mut map.old };
                generation.insert(hash, key, value);
            }
        }
        map
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
        let [young, old] = [Generation::default(), Generation::default()];
        Self { young, old, secret: RandomState::default(), capacity, lasts_ns, began_ns: 0, turns: 0 }
    }

    /// Starts a new generation if the young one is too old or full.
    fn turn(&mut self, now_ns: u64) {
        let is_full = self.young.entries.len() >= self.capacity;
        if !is_full && now_ns.saturating_sub(self.began_ns) < self.lasts_ns {
            return;
        }
        std::mem::swap(&mut self.old, &mut self.young);
        if is_full {
            // The young generation will probably become full again, so its memory is used again.
            self.young.clear();
        } else {
            self.young = Generation::default();
        }
        self.began_ns = now_ns;
        self.turns += 1;
    }

    /// The number of generations that began since the map was made or loaded. While it is the same, no entry is dropped,
    /// and an entry that was used is in the young generation.
    pub(crate) const fn turns(&self) -> u64 {
        self.turns
    }

    /// The entry of `key`, made with `make` if there is none.
    pub(crate) fn entry(&mut self, key: K, now_ns: u64, make: impl FnOnce() -> V) -> &mut V {
        let hash = self.hash(&key);
        if let Some(place) = self.young.place(hash, &key) {
            return &mut self.young.entries[place].value;
        }
        self.turn(now_ns);
        let value = self.old.remove(hash, &key).unwrap_or_else(make);
        self.young.insert(hash, key, value)
    }

    /// The entry of `key`, if there is one, which is used by this.
    pub(crate) fn renew(&mut self, key: K, now_ns: u64) -> Option<&mut V> {
        let hash = self.hash(&key);
        if let Some(place) = self.young.place(hash, &key) {
            return Some(&mut self.young.entries[place].value);
        }
        let value = self.old.remove(hash, &key)?;
        self.turn(now_ns);
        Some(self.young.insert(hash, key, value))
    }

    /// The entry of `key`, if there is one.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let hash = self.hash(key);
        match self.young.place(hash, key) {
            Some(place) => Some(&mut self.young.entries[place].value),
            None => self.old.place(hash, key).map(|place| &mut self.old.entries[place].value),
        }
    }

    /// The entry of `key`, if there is one, for reading.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let hash = self.hash(key);
        [&self.young, &self.old].into_iter().find_map(|map| map.place(hash, key).map(|place| &map.entries[place].value))
    }

    /// Removes the entry of `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        let hash = self.hash(key);
        if self.young.remove(hash, key).is_none() {
            self.old.remove(hash, key);
        }
    }

    fn hash(&self, key: &K) -> u64 {
        self.secret.hash_one(key)
    }

    /// All entries, in unspecified order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        let entries = self.young.entries.iter_mut().chain(&mut self.old.entries);
        entries.map(|Entry { key, value, .. }| (&*key, value))
    }

    /// The keys of all entries, in unspecified order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.young.entries.iter().chain(&self.old.entries).map(|entry| &entry.key)
    }

    /// Removes the entries for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.young.retain(&mut keep);
        self.old.retain(keep);
    }

    /// Whether there are no entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.young.entries.is_empty() && self.old.entries.is_empty()
    }

    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
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

    /// Every operation, beside a map without generations. No entry is old enough to be dropped.
    #[test]
    fn it_is_a_map_while_nothing_is_dropped() {
        use std::collections::BTreeMap;

        use rand::{Rng, SeedableRng};

        let mut random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(3);
        let (mut map, mut plain) = (Generations::lasting(1000, 4000), BTreeMap::new());
        for step in 0..20_000_u64 {
            let key = random.gen_range(0..300_u32);
            match random.gen_range(0..6) {
                0 | 1 => {
                    *map.entry(key, step, || step) += 1;
                    *plain.entry(key).or_insert(step) += 1;
                }
                2 => assert_eq!(map.renew(key, step).copied(), plain.get(&key).copied()),
                3 => assert_eq!(map.get_mut(&key), plain.get_mut(&key)),
                4 => {
                    map.remove(&key);
                    plain.remove(&key);
                }
                _ => assert_eq!(map.get(&key), plain.get(&key)),
            }
            if step % 1000 == 0 {
                map.retain(|key, value| key % 7 != 0 || *value % 3 != 0);
                plain.retain(|key, value| key % 7 != 0 || *value % 3 != 0);
                let mut entries: Vec<(u32, u64)> = map.iter_mut().map(|(key, value)| (*key, *value)).collect();
                entries.sort_unstable();
                assert_eq!(entries, plain.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
                map = saved_and_loaded(&map);
            }
            if step % 2000 == 1999 {
                plain.keys().for_each(|key| assert!(map.renew(*key, step).is_some()));
            }
        }
    }

    fn saved_and_loaded(map: &Generations<u32, u64>) -> Generations<u32, u64> {
        serde_json::from_str(&serde_json::to_string(map).expect("JSON")).expect("the same map")
    }
}
