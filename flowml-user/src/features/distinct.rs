//! The number of different things and the entropy of their weights: exact for few, from a bounded sample for many.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// The largest number of things that are kept individually.
const CAPACITY: usize = 512;

/// Up to this number of entries, a thing is looked for among all of them: most hosts contact one or two others. Beyond
/// it, entries are appended, and joined when their number has doubled.
const FEW: usize = 8;

/// A set of hashed things and how often each was seen, sampled adaptively (Flajolet, "On adaptive sampling", Computing
/// 43, 1990). When the set is full, only the hashes with one more trailing zero are kept, about half of them. The kept
/// things are a random sample of the different things, each with all its occurrences. The number of things is then
/// known to about 1.2/√512 = 5 %.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Distinct {
    /// Hash and weight. One or two need no heap memory.
    kept: SmallVec<[(u32, u32); 2]>,
    /// The number of entries at the front that are sorted by hash and belong to different things. Later entries may
    /// belong to the same things.
    joined: u32,
    /// The number of trailing zeros that a hash needs to be kept.
    level: u32,
}

impl Distinct {
    /// Adds a thing with this weight, or adds to the weight of a known thing.
    pub(crate) fn add(&mut self, hash: u32, weight: u32) {
        if hash.trailing_zeros() < self.level {
            return;
        }
        let looked_at = if self.kept.len() <= FEW { 0 } else { self.kept.len() - 1 };
        if let Some((_, own)) = self.kept[looked_at..].iter_mut().find(|(known, _)| *known == hash) {
            *own = own.saturating_add(weight);
            return;
        }
        self.kept.push((hash, weight));
        if self.kept.len() >= 2 * FEW.max(self.joined as usize) {
            self.join();
        }
    }

    /// Adds everything in another set.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Most addresses have only one role.
        if other.kept.is_empty() && other.level <= self.level {
            return;
        }
        self.level = self.level.max(other.level);
        self.kept.extend_from_slice(&other.kept);
        self.join();
    }

    /// Joins the entries of the same thing, and thins the set if it has too many.
    fn join(&mut self) {
        // The stable sort takes linear time for the sorted entries of two sets.
        self.kept.sort_by_key(|(hash, _)| *hash);
        self.kept.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            if is_same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            is_same
        });
        self.thin();
        self.joined = self.kept.len() as u32;
    }

    fn thin(&mut self) {
        let least = self.level;
        self.kept.retain(|(hash, _)| hash.trailing_zeros() >= least);
        while self.kept.len() > CAPACITY && self.level < u32::BITS {
            self.level += 1;
            let level = self.level;
            self.kept.retain(|(hash, _)| hash.trailing_zeros() >= level);
        }
    }

    /// The entries, one for each thing, sorted by hash.
    fn entries(&mut self) -> &[(u32, u32)] {
        if self.joined as usize != self.kept.len() {
            self.join();
        }
        &self.kept
    }

    /// The number of different things.
    pub(crate) fn count(&mut self) -> f64 {
        self.entries().len() as f64 * self.scale()
    }

    /// The number of different things whose weight is 0.
    pub(crate) fn count_without_weight(&mut self) -> f64 {
        self.entries().iter().filter(|(_, weight)| *weight == 0).count() as f64 * self.scale()
    }

    /// Shannon entropy of the weights, bits: 0 if one thing has all the weight, log2(n) if n things have equal weight.
    pub(crate) fn entropy_bits(&mut self) -> f64 {
        let total: f64 = self.entries().iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>() * self.scale();
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
