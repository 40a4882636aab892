//! How many different things there were, and how evenly: exact for few, a bounded sample of many.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Things that are kept one by one.
const CAPACITY: usize = 512;

/// A set of things by hash with how often each was seen, sampled adaptively (Flajolet, "On adaptive sampling",
/// Computing 43, 1990): when it is full, only the hashes with one more trailing zero stay, about half of them. What
/// stays is a random sample of the different things, each with all its sightings. The number of things is then known
/// to about 1.2/√512 = 5 %.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Distinct {
    /// Hash and weight, in the order of the hashes. Most hosts have to do with one or two, which need no memory of their own.
    #[serde(serialize_with = "few::serialize", deserialize_with = "few::deserialize")]
    kept: SmallVec<[(u32, u32); 2]>,
    /// Trailing zeros of the hashes that are kept.
    level: u32,
}

/// The things of a set as a sequence.
mod few {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use smallvec::SmallVec;

    type Things = SmallVec<[(u32, u32); 2]>;

    pub(super) fn serialize<S: Serializer>(things: &Things, to: S) -> Result<S::Ok, S::Error> {
        things.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Things, D::Error> {
        Vec::deserialize(from).map(SmallVec::from_vec)
    }
}

impl Distinct {
    /// Adds a thing, or adds to its weight.
    pub(crate) fn add(&mut self, hash: u32, weight: u32) {
        if hash.trailing_zeros() < self.level {
            return;
        }
        match self.kept.binary_search_by_key(&hash, |(hash, _)| *hash) {
            Ok(at) => self.kept[at].1 = self.kept[at].1.saturating_add(weight),
            Err(at) => {
                self.kept.insert(at, (hash, weight));
                self.thin();
            }
        }
    }

    /// Adds all of another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Most addresses are in one role alone.
        if other.kept.is_empty() && other.level <= self.level {
            return;
        }
        self.level = self.level.max(other.level);
        let mut merged = SmallVec::with_capacity(self.kept.len() + other.kept.len());
        let (mut mine, mut theirs) = (self.kept.iter().copied().peekable(), other.kept.iter().copied().peekable());
        loop {
            let next = match (mine.peek(), theirs.peek()) {
                (Some(a), Some(b)) if a.0 == b.0 => {
                    let sum = (a.0, a.1.saturating_add(b.1));
                    mine.next();
                    theirs.next();
                    Some(sum)
                }
                (Some(a), Some(b)) if b.0 < a.0 => theirs.next(),
                (None, _) => theirs.next(),
                (Some(_), _) => mine.next(),
            };
            let Some(next) = next else { break };
            merged.push(next);
        }
        self.kept = merged;
        let level = self.level;
        self.kept.retain(|(hash, _)| hash.trailing_zeros() >= level);
        self.thin();
    }

    fn thin(&mut self) {
        while self.kept.len() > CAPACITY && self.level < u32::BITS {
            self.level += 1;
            let level = self.level;
            self.kept.retain(|(hash, _)| hash.trailing_zeros() >= level);
        }
    }

    /// How many different things there were.
    pub(crate) fn count(&self) -> f64 {
        self.kept.len() as f64 * self.scale()
    }

    /// How many of them have weight 0.
    pub(crate) fn count_without_weight(&self) -> f64 {
        self.kept.iter().filter(|(_, weight)| *weight == 0).count() as f64 * self.scale()
    }

    /// Shannon entropy of the weights, bits: 0 when all weight is on one thing, log2(n) when n things are even.
    pub(crate) fn entropy_bits(&self) -> f64 {
        let total: f64 = self.kept.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>() * self.scale();
        if total == 0.0 {
            return 0.0;
        }
        let terms = self.kept.iter().filter(|(_, weight)| *weight > 0).map(|(_, weight)| {
            let share = f64::from(*weight) / total;
            share * share.recip().log2()
        });
        terms.sum::<f64>() * self.scale()
    }

    fn scale(&self) -> f64 {
        f64::from(self.level).exp2()
    }
}
