//! Numbers relative to those of the same group, because what is normal for one service is unusual for another.
//!
//! A log-scaled number is compared with the median of its group in the training set, in units of the group's scale.
//! Its square is the mean of two squared spreads: that of the group, and that of the differences in all groups. A group
//! whose flows are almost all equal would otherwise have a scale near zero, and its few other flows would be the farthest
//! of all.
//!
//! The deviation is multiplied by the credibility of the group, `n / (n + 4)` for `n` training rows (Bühlmann, ASTIN
//! Bulletin 4, 1967; the weight is that of `few`): few rows are little evidence, and an unknown group is none.

use serde::{Deserialize, Serialize};

use super::categories::most_frequent;
use super::defined::{LARGEST, defined, transformed};
use super::few::WEIGHT;
use super::statistics::{quantile, spread};
use crate::learning::checked::{Checked, Outcome, SHARES, any, checked, divisor, holds, within};

/// What is normal in a group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
struct Normal {
    /// The value of the column of groups.
    group: f64,
    /// The median of the log-scaled numbers.
    middle: f64,
    /// The scale of the differences from it.
    scale: f64,
    /// From 0, no evidence, to 1.
    credibility: f64,
}

checked!(Normal);

impl Checked for Normal {
    const NAME: &str = "what is normal in a group";

    fn check(&self) -> Outcome {
        within("group", self.group, any())?;
        within("middle", self.middle, any())?;
        within("scale", self.scale, divisor())?;
        within("credibility", self.credibility, SHARES)?;
        holds(self.credibility > 0.0, "expected a 'credibility' above 0")
    }
}

/// The column that has the group of a row, and the most frequent groups, in ascending order. `C` identifies that column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Groups<C> {
    pub(crate) by: C,
    normal: Vec<Normal>,
}

impl<C> Groups<C> {
    /// Fits on pairs of a number and its group. No spread is smaller than `floor`.
    pub(crate) fn fit(by: C, pairs: impl Iterator<Item = (f64, f64)>, floor: f64) -> Self {
        let known = pairs.filter_map(|(value, group)| Some((defined(group)?, transformed(value, true)?)));
        let mut known: Vec<_> = known.collect();
        known.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let groups = known.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()).map(|rows| (rows, rows.len()));
        let frequent = most_frequent(groups.collect(), |a, b| a[0].0.total_cmp(&b[0].0));
        let differences = frequent.into_iter().map(|(rows, _)| {
            let values: Vec<f64> = rows.iter().map(|(_, value)| *value).collect();
            let middle = quantile(&values, 0.5);
            (rows[0].0, middle, values.into_iter().map(|value| value - middle).collect::<Vec<_>>())
        });
        let differences: Vec<_> = differences.collect();
        let mut all: Vec<f64> = differences.iter().flat_map(|(.., own)| own.iter().copied()).collect();
        all.sort_unstable_by(f64::total_cmp);
        let common = spread(&all).max(floor);
        let normal = differences.into_iter().map(|(group, middle, own)| {
            let (rows, own) = (own.len() as f64, spread(&own).max(floor));
            let scale = (own * own).midpoint(common * common).sqrt();
            Normal { group, middle, scale, credibility: rows / (rows + WEIGHT) }
        });
        Self { by, normal: normal.collect() }
    }

    /// The deviation of `value` from the median of its group; 0 in an unknown group.
    pub(crate) fn deviation(&self, value: f64, group: f64) -> f64 {
        let Some(normal) = self.normal(group) else { return 0.0 };
        transformed(value, true).map_or(f64::NAN, |value| normal.credibility * (value - normal.middle) / normal.scale)
    }

    /// The value with this deviation from its group. `None` in an unknown group.
    pub(crate) fn value(&self, deviation: f64, group: f64) -> Option<f64> {
        let normal = self.normal(group)?;
        Some((normal.middle + deviation / normal.credibility * normal.scale).exp_m1().clamp(0.0, LARGEST))
    }

    fn normal(&self, group: f64) -> Option<&Normal> {
        let place = self.normal.binary_search_by(|normal| normal.group.total_cmp(&group)).ok()?;
        self.normal.get(place)
    }

    pub(crate) fn check(&self) -> Outcome {
        let ascends = self.normal.is_sorted_by(|a, b| a.group.total_cmp(&b.group).is_lt());
        holds(ascends, "expected distinct groups in ascending order")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two packets in flows of service 53, a thousand in those of service 443.
    fn fitted() -> Groups<()> {
        let pairs = [(2.0, 53.0), (1000.0, 443.0)].into_iter().flat_map(|pair| std::iter::repeat_n(pair, 96));
        Groups::fit((), pairs.chain([(f64::NAN, 53.0), (5.0, f64::NAN), (7.0, 22.0)]), 0.5)
    }

    #[test]
    fn a_number_is_compared_with_those_of_its_group() {
        let groups = fitted();
        assert_eq!(groups.deviation(2.0, 53.0), 0.0);
        assert_eq!(groups.deviation(1000.0, 443.0), 0.0);
        let more = groups.deviation(1000.0, 53.0);
        assert!((more - 0.96 * (1001.0_f64 / 3.0).ln() / 0.5).abs() < 1e-12);
        assert_eq!(groups.deviation(2.0, 443.0), -more);
        assert!((groups.value(more, 53.0).expect("a known group") - 1000.0).abs() < 1e-9);
    }

    #[test]
    fn an_unknown_group_is_no_evidence_and_a_small_one_is_little() {
        let groups = fitted();
        assert_eq!((groups.deviation(1e6, 8080.0), groups.deviation(1e6, f64::NAN)), (0.0, 0.0));
        assert_eq!(groups.value(1.0, 8080.0), None);
        assert!((groups.deviation(15.0, 22.0) - 0.2 * 2.0_f64.ln() / 0.5).abs() < 1e-12);
        assert!(groups.deviation(f64::NAN, 53.0).is_nan());
    }
}
