//! Finds the names with the most bytes, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;

use ahash::RandomState;

/// Number of names that are kept when there are twice as many.
const KEPT: usize = 1 << 16;

/// The counts of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Flows in which it is the initiator.
    pub(super) opened: u64,
    /// Flows in which it is the responder.
    pub(super) accepted: u64,
    pub(super) packets: f64,
    pub(super) bytes: f64,
    /// Number of its flows that are anomalies.
    pub(super) anomalies: u64,
}

/// Counts by name. Above 131,072 names those with the fewest bytes are dropped, so a name that appears again may have
/// more than is shown.
#[derive(Clone, Debug)]
pub(super) struct Heaviest<K> {
    tallies: HashMap<K, Tally, RandomState>,
    forgot: bool,
}

impl<K> Default for Heaviest<K> {
    fn default() -> Self {
        Self { tallies: HashMap::default(), forgot: false }
    }
}

impl<K: Copy + Eq + Hash + Ord> Heaviest<K> {
    /// The counts of a name, to be increased.
    pub(super) fn tally(&mut self, name: K) -> &mut Tally {
        if self.tallies.len() >= 2 * KEPT && !self.tallies.contains_key(&name) {
            self.forgot = true;
            self.tallies = self.most(KEPT).into_iter().collect();
        }
        self.tallies.entry(name).or_default()
    }

    /// The names with the most bytes, in descending order.
    pub(super) fn most(&self, count: usize) -> Vec<(K, Tally)> {
        let mut all: Vec<(K, Tally)> = self.tallies.iter().map(|(name, tally)| (*name, *tally)).collect();
        all.sort_by(|(a, one), (b, other)| other.bytes.total_cmp(&one.bytes).then(a.cmp(b)));
        all.truncate(count);
        all
    }

    /// The number of names kept, and whether others were dropped.
    pub(super) fn count(&self) -> (usize, bool) {
        (self.tallies.len(), self.forgot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_with_the_most_bytes_are_kept() {
        let mut heaviest = Heaviest::default();
        for name in 0..300_000_u32 {
            heaviest.tally(name).bytes += 1.0;
            heaviest.tally(name % 3).bytes += 10.0;
        }
        let most: Vec<u32> = heaviest.most(3).into_iter().map(|(name, _)| name).collect();
        assert_eq!(most, [0, 1, 2]);
        assert_eq!(heaviest.most(1)[0].1.bytes, 1_000_001.0);
        let (count, forgot) = heaviest.count();
        assert!(count <= 2 * KEPT && forgot);
    }
}
