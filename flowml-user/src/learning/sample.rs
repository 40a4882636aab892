//! Draws row numbers at random.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256Plus;

/// At most `at_most` of `rows` row numbers, drawn at random without repetition, in ascending order.
pub(crate) fn sample(rows: usize, at_most: usize, seed: u64) -> Vec<usize> {
    if rows <= at_most {
        return (0..rows).collect();
    }
    let mut chosen = rand::seq::index::sample(&mut Xoshiro256Plus::seed_from_u64(seed), rows, at_most).into_vec();
    chosen.sort_unstable();
    chosen
}
