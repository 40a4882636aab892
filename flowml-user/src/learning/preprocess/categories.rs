//! The categories of a column that have an encoded feature of their own.

use std::cmp::{Ordering, Reverse};

/// Number of categories with an encoded feature of their own, the most frequent first. All others share the encoded
/// feature of unseen values.
pub(super) const CATEGORIES: usize = 96;

/// The most frequent of different values, in ascending order. `counted` is in ascending order and has the number of rows
/// of each value. Of equally frequent values, the smaller ones are kept.
pub(super) fn most_frequent<V>(mut counted: Vec<(V, usize)>, compare: impl Fn(&V, &V) -> Ordering) -> Vec<(V, usize)> {
    counted.sort_by_key(|(_, count)| Reverse(*count));
    counted.truncate(CATEGORIES);
    counted.sort_unstable_by(|a, b| compare(&a.0, &b.0));
    counted
}
