//! Ratios and entropies of few flows, shrunk towards the typical value, because few flows are little evidence.
//!
//! A ratio over `n` things with a Beta prior of mean `t` and weight `w` has the posterior mean `(n·ratio + w·t) / (n +
//! w)`. The weight is that of Agresti and Coull (The American Statistician 52, 1998), who add four observations. The
//! mean is the typical ratio, as in credibility theory (Bühlmann, ASTIN Bulletin 4, 1967). An entropy is a mean over
//! things, so it is treated in the same way. The things are flows, even if packets are counted: packets of one flow
//! resemble each other, so only flows are independent.

use serde::{Deserialize, Serialize};

use super::defined::defined;

/// The weight of the typical ratio, in things.
pub(super) const WEIGHT: f64 = 4.0;

/// The column that counts the things of a ratio or an entropy, and its typical value. `C` identifies that column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Few<C> {
    pub(crate) count: C,
    pub(crate) typical: f64,
}

impl<C> Few<C> {
    /// Fits on pairs of a ratio and its count: the mean of the ratios, with the weights of [`Self::drawn`].
    pub(crate) fn fit(count: C, pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let defined =
            pairs.filter(|(value, count)| defined(*value).is_some() && defined(*count).is_some() && *count > 0.0);
        let (sum, weights) = defined.fold((0.0, 0.0), |(sum, weights), (value, count)| {
            let weight = count / (count + WEIGHT);
            (sum + weight * value, weights + weight)
        });
        Self { count, typical: if weights > 0.0 { sum / weights } else { 0.0 } }
    }

    /// The ratio `value` over `count` things, pulled towards the typical ratio. If `count` is invalid, it is returned
    /// unchanged.
    pub(crate) fn drawn(&self, value: f64, count: f64) -> f64 {
        let Some(count) = defined(count) else { return value };
        let count = count.max(0.0);
        // A ratio over nothing is ignored, whatever its value.
        let own = if count > 0.0 { value * count } else { 0.0 };
        (own + WEIGHT * self.typical) / (count + WEIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_over_few_are_pulled_towards_typical_and_those_over_many_are_not() {
        let few = Few { count: (), typical: 0.1 };
        assert!((few.drawn(1.0, 1.0) - 0.28).abs() < 1e-12);
        assert!((few.drawn(1.0, 2000.0) - 1.0).abs() < 0.002);
        assert!((few.drawn(0.1, 3.0) - 0.1).abs() < 1e-12);
        assert_eq!((few.drawn(0.0, 0.0), few.drawn(f64::NAN, 0.0)), (0.1, 0.1));
        assert_eq!(few.drawn(0.7, f64::NAN), 0.7);
        assert!(few.drawn(f64::NAN, 5.0).is_nan());
    }

    #[test]
    fn the_typical_ratio_weighs_many_things_more_than_few() {
        let many = std::iter::repeat_n((0.0, 1000.0), 10);
        let fitted = Few::fit((), many.chain(std::iter::repeat_n((1.0, 1.0), 10)).chain([(f64::NAN, 3.0), (0.5, 0.0)]));
        assert!((fitted.typical - 0.2 / 1.2).abs() < 0.01, "{fitted:?}");
        assert_eq!(Few::fit((), std::iter::empty()).typical, 0.0);
    }
}
