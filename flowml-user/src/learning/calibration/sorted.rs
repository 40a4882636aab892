//! Numbers in ascending order, of which a few are replaced from time to time.

/// One of this many numbers is in the index. A search reads the index, which stays in the cache, and two or three cache
/// lines of the numbers.
const STEP: usize = 16;

/// Numbers in ascending order. Replacements take effect at the next [`Self::refresh`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sorted {
    values: Vec<f64>,
    /// The first of every [`STEP`] numbers.
    index: Vec<f64>,
    entered: Vec<f64>,
    left: Vec<f64>,
}

impl Sorted {
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let mut sorted = Self::default();
        sorted.set(values);
        sorted
    }

    fn set(&mut self, values: Vec<f64>) {
        self.index.clear();
        self.index.extend(values.iter().step_by(STEP));
        self.values = values;
    }

    /// The number of values that are less than `limit`.
    pub(super) fn below(&self, limit: f64) -> usize {
        let steps = self.index.partition_point(|first| *first < limit);
        // The last of the steps whose first value is less than the limit is the one that has the limit.
        let begin = steps.saturating_sub(1) * STEP;
        let end = (steps * STEP).min(self.values.len());
        begin + self.values[begin..end].partition_point(|value| *value < limit)
    }

    /// Adds `entered`, and removes `left`, which must be one of the numbers.
    pub(super) fn replace(&mut self, left: Option<f64>, entered: f64) {
        self.left.extend(left);
        self.entered.push(entered);
    }

    /// Makes the replacements. The time is proportional to the number of values, because only the replaced ones are
    /// sorted.
    pub(super) fn refresh(&mut self) {
        if self.entered.is_empty() {
            return;
        }
        for few in [&mut self.entered, &mut self.left] {
            few.sort_unstable_by(f64::total_cmp);
        }
        let mut values = Vec::with_capacity(self.values.len() + self.entered.len());
        let mut entered = self.entered.drain(..).peekable();
        let mut left = self.left.drain(..).peekable();
        // A number that entered may have left again.
        let mut add = |value: f64| {
            if left.next_if(|left| left.total_cmp(&value).is_eq()).is_none() {
                values.push(value);
            }
        };
        for &value in &self.values {
            while let Some(entered) = entered.next_if(|entered| entered.total_cmp(&value).is_lt()) {
                add(entered);
            }
            add(value);
        }
        entered.for_each(add);
        drop(left);
        self.set(values);
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few different numbers, so that many are equal.
        #[test]
        fn it_has_the_numbers_of_a_ring_in_their_order(
            begin in vec(-3..9i8, 1..80),
            batches in vec(vec((any::<prop::sample::Index>(), any::<bool>(), -3..9i8), 0..40), 0..6),
        ) {
            let mut ring: Vec<f64> = begin.into_iter().map(f64::from).collect();
            let mut sorted = Sorted::new(ring.clone());
            for batch in batches {
                for (place, is_new, number) in batch {
                    let number = f64::from(number);
                    let left = (!is_new).then(|| {
                        let own = place.index(ring.len());
                        std::mem::replace(&mut ring[own], number)
                    });
                    if is_new {
                        ring.push(number);
                    }
                    sorted.replace(left, number);
                }
                sorted.refresh();
                let expected = Sorted::new(ring.clone());
                prop_assert_eq!(sorted.values(), expected.values());
                for limit in -4..10 {
                    let limit = f64::from(limit);
                    let below = sorted.values().iter().filter(|value| **value < limit).count();
                    prop_assert_eq!(sorted.below(limit), below);
                }
            }
        }
    }
}
