//! The places of open sessions by flow, without a second copy of the keys.

use ahash::RandomState;
use flowml_common::flow::FlowKey;
use hashbrown::HashTable;

/// Secret hashes of flows, and the numbers of their sessions.
#[derive(Default)]
pub(super) struct Index {
    places: HashTable<Place>,
    secret: RandomState,
}

/// The number of a session, and the hash of its flow. With the hash the table can grow without reading the keys, which
/// are elsewhere in memory, and a look-up rarely reads the session of another flow.
#[derive(Clone, Copy)]
struct Place {
    hash: u32,
    number: u32,
}

/// The table takes the position from the lower bits of a hash, and a tag from the upper ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

impl Index {
    /// Memory of an entry, bytes.
    pub(super) const BYTES_OF_ONE: usize = size_of::<Place>() + 1;

    /// The hash of a flow.
    pub(super) fn hash(&self, key: &FlowKey) -> u32 {
        self.secret.hash_one(key) as u32
    }

    /// The number of the session with this hash for which `is_right`.
    pub(super) fn find(&self, hash: u32, is_right: impl Fn(u32) -> bool) -> Option<u32> {
        let is_place = |place: &Place| place.hash == hash && is_right(place.number);
        self.places.find(spread(hash), is_place).map(|place| place.number)
    }

    /// The number of a session with this hash, most likely of the flow that has it.
    pub(super) fn likely(&self, hash: u32) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds a session.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        self.places.insert_unique(spread(hash), Place { hash, number }, |place| spread(place.hash));
    }

    /// Removes a session, if it is there.
    pub(super) fn remove(&mut self, hash: u32, number: u32) {
        if let Ok(place) = self.places.find_entry(spread(hash), |place| place.hash == hash && place.number == number) {
            place.remove();
        }
    }

    /// Number of sessions.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that many sessions have the same one.
        #[test]
        fn it_finds_what_was_inserted_and_not_removed(steps in vec((any::<bool>(), 0..4u32, 0..64u32), 0..300)) {
            let (mut index, mut expected) = (Index::default(), std::collections::BTreeSet::new());
            for (inserts, hash, number) in steps {
                // The upper bits differ too, as in a real hash.
                let hash = hash | hash << 30;
                if inserts && expected.insert((hash, number)) {
                    index.insert(hash, number);
                } else if !inserts {
                    expected.remove(&(hash, number));
                    index.remove(hash, number);
                }
                prop_assert_eq!(index.len(), expected.len());
                let found = index.find(hash, |found| found == number);
                prop_assert_eq!(found, expected.contains(&(hash, number)).then_some(number));
                let is_known = expected.iter().any(|(known, _)| *known == hash);
                prop_assert_eq!(index.likely(hash).is_some(), is_known);
            }
        }
    }

    #[test]
    fn every_value_of_the_tag_occurs() {
        // hashbrown's tag is the upper seven bits.
        let index = Index::default();
        let tags: std::collections::BTreeSet<_> =
            (0..10_000_u64).map(|n| spread(index.hash(&bytemuck::cast([n, 0, 0, 0, 0, 0]))) >> 57).collect();
        assert_eq!(tags.len(), 128);
    }
}
