//! The places of a flow in a partition: the hash of its key, scaled to the size of the partition.

use bytemuck::{Pod, Zeroable};

use crate::flow::{FlowKey, KEY_HALVES};

use super::bucket::{RETIRED, SLOTS};
use super::storage::Storage;

/// The secret of the hash. It is random at each start, so that flows cannot be directed at one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Seed(pub [u64; KEY_HALVES]);

/// The size of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of buckets.
    pub buckets: u32,
}

impl Shape {
    /// The shape for a capacity in entries, rounded up to whole buckets.
    pub const fn for_capacity(entries: u32) -> Self {
        let buckets = entries.div_ceil(SLOTS as u32);
        Self { buckets: if buckets == 0 { 1 } else { buckets } }
    }

    /// Number of entries.
    pub const fn entries(self) -> u32 {
        self.buckets * SLOTS as u32
    }
}

/// The possible locations of a flow, and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of an entry in the first bucket.
    pub(super) home: u32,
    /// The number of the second bucket.
    pub(super) second: u32,
    /// The number of the third bucket.
    pub(super) third: u32,
    /// The tag, 1 to 65,534.
    pub(super) tag: u64,
}

/// Hashes the key: the multilinear hash of its 32-bit halves of words modulo 2⁶⁴ (Lemire and Kaser, "Strongly Universal
/// String Hashing is Fast", 2014). For any two keys, over the choice of the seed, the upper halves of their hashes are
/// independent. They are therefore equal with a probability of 2⁻³².
///
/// The hash consists of additions and multiplications because a kernel program has no rotation, and only the lower half
/// of a product.
#[inline(always)]
fn hash<S: Storage>(storage: &S, key: &FlowKey) -> u64 {
    let halves = key.halves();
    let term = |n: usize| u64::from(halves[n]).wrapping_mul(storage.secret(n));
    // Two sums, so that the processor adds to both at once. In one sum each addition waits for the previous one.
    let mut sums = [0u64; 2];
    for n in FlowKey::LOWER_HALVES {
        sums[n % 2] = sums[n % 2].wrapping_add(term(n));
    }
    // Zeroes add nothing: without them IPv4 takes two thirds of the time.
    if !key.is_below_2_64() {
        for n in FlowKey::UPPER_HALVES {
            sums[n % 2] = sums[n % 2].wrapping_add(term(n));
        }
    }
    sums[0].wrapping_add(sums[1])
}

/// Scales 32 random bits to `0..buckets` (Lemire, "Fast Random Integer Generation in an Interval", 2019).
#[inline(always)]
const fn scale(bits: u32, buckets: u32) -> u32 {
    ((bits as u64 * buckets as u64) >> 32) as u32
}

#[inline(always)]
pub(super) fn place<S: Storage>(storage: &S, key: &FlowKey) -> Place {
    let (hash, buckets) = (hash(storage, key), storage.buckets());
    // Keys with a constant difference (a scan) have hashes with a constant difference, which crowd if the seed makes
    // the difference nearly a simple fraction of the range. Folding and multiplying remove this pattern. Both are
    // invertible, so no two hashes become equal.
    let mixed = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let second = scale(mixed as u32, buckets);
    Place {
        home: scale((mixed >> 32) as u32, buckets * SLOTS as u32),
        second,
        third: if second + 1 < buckets { second + 1 } else { 0 },
        tag: u64::from(scale((hash >> 32) as u32, RETIRED as u32 - 1)) + 1,
    }
}
