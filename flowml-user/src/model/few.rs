//! Shares and entropies of few things: drawn towards what is typical, as few things are little evidence.
//!
//! A share of `n` things with a Beta prior of mean `t` and weight `w` has the posterior mean `(n·share + w·t) / (n + w)`. The
//! weight is that of Agresti and Coull (The American Statistician 52, 1998), who add four observations to those that there
//! are; the mean is the typical share, as in credibility theory (Bühlmann, ASTIN Bulletin 4, 1967). An entropy is the mean
//! of what each thing tells, and is treated alike. The things are flows also where packets are counted: packets of one flow
//! resemble each other, so flows are what is independent.

use serde::{Deserialize, Serialize};

/// What the typical share weighs, in things.
const WEIGHT: f64 = 4.0;

/// Of how many things a column says the share or entropy, and what is typical of it. `C` names the column that counts them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Few<C> {
    pub(super) count: C,
    pub(super) typical: f64,
}

impl<C> Few<C> {
    /// From the values of both columns: the mean of the shares, each weighed as [`Self::drawn`] weighs it.
    pub(super) fn fit(count: C, pairs: impl Iterator<Item = (f64, f64)>) -> Self {
        let defined = pairs.filter(|(value, count)| value.is_finite() && count.is_finite() && *count > 0.0);
        let (sum, weights) = defined.fold((0.0, 0.0), |(sum, weights), (value, count)| {
            let weight = count / (count + WEIGHT);
            (sum + weight * value, weights + weight)
        });
        Self { count, typical: if weights > 0.0 { sum / weights } else { 0.0 } }
    }

    /// A share of so many things, drawn towards the typical one; where their number is not known, as it is.
    pub(super) fn drawn(&self, value: f64, count: f64) -> f64 {
        if !count.is_finite() {
            return value;
        }
        let count = count.max(0.0);
        // Of nothing there is no share, whatever stands for it.
        let own = if count > 0.0 { value * count } else { 0.0 };
        (own + WEIGHT * self.typical) / (count + WEIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_little_evidence_and_many_speak_for_themselves() {
        let few = Few { count: (), typical: 0.1 };
        assert!((few.drawn(1.0, 1.0) - 0.28).abs() < 1e-12);
        assert!((few.drawn(1.0, 2000.0) - 1.0).abs() < 0.002);
        assert!((few.drawn(0.1, 3.0) - 0.1).abs() < 1e-12);
        assert_eq!((few.drawn(0.0, 0.0), few.drawn(f64::NAN, 0.0)), (0.1, 0.1));
        assert_eq!(few.drawn(0.7, f64::NAN), 0.7);
        assert!(few.drawn(f64::NAN, 5.0).is_nan());
    }

    #[test]
    fn what_is_typical_is_said_by_many_rather_than_by_few() {
        let many = std::iter::repeat_n((0.0, 1000.0), 10);
        let fitted = Few::fit((), many.chain(std::iter::repeat_n((1.0, 1.0), 10)).chain([(f64::NAN, 3.0), (0.5, 0.0)]));
        assert!((fitted.typical - 0.2 / 1.2).abs() < 0.01, "{fitted:?}");
        assert_eq!(Few::fit((), std::iter::empty()).typical, 0.0);
    }
}
