//! The number of different things and the entropy of their weights: exact for few, from a bounded sample for many.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// The largest number of things that are kept individually.
const CAPACITY: usize = 512;

/// A set of hashed things and how often each was seen, sampled adaptively (Flajolet, "On adaptive sampling", Computing
/// 43, 1990). When the set is full, only the hashes with one more trailing zero are kept, about half of them. The kept
/// things are a random sample of the different things, each with all its occurrences. The number of things is then
/// known to about 1.2/√512 = 5 %.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Distinct {
    /// Hash and weight, sorted by hash. Most hosts contact one or two others, which need no heap memory.
    kept: SmallVec<[(u32, u32); 2]>,
    /// The number of trailing zeros that a hash needs to be kept.
    level: u32,
}

impl Distinct {
    /// Adds a thing with this weight, or adds to the weight of a known thing.
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

    /// Adds everything in another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Most addresses have only one role.
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

    /// The number of different things.
    pub(crate) fn count(&self) -> f64 {
        self.kept.len() as f64 * self.scale()
    }

    /// The number of different things whose weight is 0.
    pub(crate) fn count_without_weight(&self) -> f64 {
        self.kept.iter().filter(|(_, weight)| *weight == 0).count() as f64 * self.scale()
    }

    /// Shannon entropy of the weights, bits: 0 if one thing has all the weight, log2(n) if n things have equal weight.
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
