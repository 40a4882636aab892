//! Feature selection: which encoded features a model uses, by the information that they have about the classes.
//!
//! ```
//! use flowml_user::learning::select::Selection;
//!
//! assert_eq!("chi2:5".parse(), Ok(Selection::Chi2(5)));
//! ```

use std::str::FromStr;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use crate::learning::checked::{Checked, Outcome, amount, checked, holds, within};
use crate::learning::classify::{TrainingSet, linear_weights, tree_importance};
use crate::learning::error::LearnError;

/// Number of bins with equal numbers of rows into which an encoded feature is divided for its mutual information.
const BINS: usize = 32;

/// The fraction of the encoded features that recursive elimination drops in each round.
const ELIMINATED: f64 = 0.2;

/// The largest number of rounds of coordinate descent, and the change below which it has converged.
const LASSO_ROUNDS: usize = 200;
const LASSO_CHANGE: f64 = 1e-6;

/// The method of selecting encoded features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub enum Selection {
    /// Those whose variance is above this value.
    Variance(f64),
    /// This many, with the largest χ² statistics.
    Chi2(usize),
    /// This many, with the largest mutual information.
    MutualInformation(usize),
    /// This many, by repeatedly dropping those with the smallest weights in a logistic regression.
    Rfe(usize),
    /// This many, in the order in which a lasso adds them.
    L1(usize),
    /// This many, with the largest importance in a random forest.
    Tree(usize),
}

checked!(Selection);

impl Checked for Selection {
    const NAME: &str = "selection";

    fn check(&self) -> Outcome {
        match *self {
            Self::Variance(least) => within("variance", least, amount()),
            Self::Chi2(k) | Self::MutualInformation(k) | Self::Rfe(k) | Self::L1(k) | Self::Tree(k) => {
                holds(k > 0, "expected at least one encoded feature")
            }
        }
    }
}

impl Selection {
    /// The accepted syntax, for users.
    pub(crate) const GRAMMAR: &str = "variance:V, chi2:K, mutual-information:K, rfe:K, l1:K or tree:K";

    /// Whether the method needs labels.
    #[must_use]
    pub(crate) const fn is_supervised(self) -> bool {
        !matches!(self, Self::Variance(_))
    }

    /// The numbers of the chosen encoded features, ascending.
    pub(crate) fn choose(self, training: &TrainingSet<'_>) -> Result<Vec<usize>, LearnError> {
        let rows = training.rows;
        let chosen = match self {
            Self::Variance(least) => {
                let variances = rows.var_axis(Axis(0), 0.0);
                (0..rows.ncols()).filter(|&feature| variances[feature] > least).collect()
            }
            Self::Chi2(k) => best(&chi2(unit_range(rows).view(), training.classes, training.count), k),
            Self::MutualInformation(k) => {
                let information =
                    |feature| mutual_information(&bins(rows.column(feature)), training.classes, training.count);
                best(&(0..rows.ncols()).map(information).collect::<Vec<_>>(), k)
            }
            Self::Rfe(k) => eliminate(training, k)?,
            Self::L1(k) => best(&lasso_entry(training), k),
            Self::Tree(k) => best(&tree_importance(training), k),
        };
        if chosen.is_empty() { Err(LearnError::NoColumns) } else { Ok(chosen) }
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {}", Self::GRAMMAR);
        let (method, number) = text.split_once(':').ok_or_else(wrong)?;
        let k = || number.parse().ok().filter(|k| *k > 0).ok_or_else(wrong);
        match method {
            "variance" => {
                number.parse().ok().filter(|v: &f64| *v >= 0.0 && v.is_finite()).map(Self::Variance).ok_or_else(wrong)
            }
            "chi2" => k().map(Self::Chi2),
            "mutual-information" => k().map(Self::MutualInformation),
            "rfe" => k().map(Self::Rfe),
            "l1" => k().map(Self::L1),
            "tree" => k().map(Self::Tree),
            _ => Err(wrong()),
        }
    }
}

/// The indices of the `k` largest values, ascending. Of equal values the first is taken.
fn best(values: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(k);
    order.sort_unstable();
    order
}

/// Scales every encoded feature to 0–1, because χ² needs values that are not negative.
fn unit_range(rows: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut scaled = rows.to_owned();
    for mut column in scaled.columns_mut() {
        let least = column.fold(f64::INFINITY, |a, b| a.min(*b));
        let most = column.fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        column.mapv_inplace(|x| if most > least { (x - least) / (most - least) } else { 0.0 });
    }
    scaled
}

/// The χ² statistic of each encoded feature against the classes: how far its sums by class differ from those expected
/// by the classes' fractions (Liu and Setiono 1995, as in scikit-learn's `chi2`). Values must not be negative. It is 0
/// for a feature whose sum is 0.
#[must_use]
pub fn chi2(rows: ArrayView2<'_, f64>, classes: &[usize], count: usize) -> Vec<f64> {
    let mut observed = Array2::<f64>::zeros((count, rows.ncols()));
    let mut shares = vec![0.0; count];
    for (row, &class) in rows.outer_iter().zip(classes) {
        let mut sums = observed.row_mut(class);
        sums += &row;
        shares[class] += 1.0 / classes.len() as f64;
    }
    let statistic = |sums: ArrayView1<'_, f64>| {
        let all = sums.sum();
        let part = |(sum, share): (&f64, &f64)| (sum - all * share).powi(2) / (all * share);
        if all > 0.0 { sums.iter().zip(&shares).filter(|(_, share)| **share > 0.0).map(part).sum() } else { 0.0 }
    };
    observed.columns().into_iter().map(statistic).collect()
}

/// The bin of each value. Bins hold about equal numbers of rows, and equal values are in one bin.
fn bins(column: ArrayView1<'_, f64>) -> Vec<usize> {
    let mut sorted = column.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..BINS).map(|bin| sorted[bin * sorted.len() / BINS]).collect();
    edges.dedup();
    column.iter().map(|value| edges.partition_point(|edge| edge <= value)).collect()
}

/// The mutual information of two partitions of the same rows, in nats.
#[must_use]
pub fn mutual_information(bins: &[usize], classes: &[usize], count: usize) -> f64 {
    let most = bins.iter().max().map_or(0, |most| most + 1);
    let mut joint = Array2::<f64>::zeros((most, count));
    bins.iter().zip(classes).for_each(|(&bin, &class)| joint[[bin, class]] += 1.0 / bins.len() as f64);
    let (by_bin, by_class) = (joint.sum_axis(Axis(1)), joint.sum_axis(Axis(0)));
    let part = |((bin, class), p): ((usize, usize), &f64)| p * (p / (by_bin[bin] * by_class[class])).ln();
    joint.indexed_iter().filter(|(_, p)| **p > 0.0).map(part).sum::<f64>().max(0.0)
}

/// Recursive feature elimination (Guyon and others 2002) with a logistic regression.
fn eliminate(training: &TrainingSet<'_>, k: usize) -> Result<Vec<usize>, LearnError> {
    let mut kept: Vec<usize> = (0..training.rows.ncols()).collect();
    while kept.len() > k {
        let rows = training.rows.select(Axis(1), &kept);
        let weights = linear_weights(&TrainingSet { rows: rows.view(), ..*training })?;
        let drop = ((kept.len() as f64 * ELIMINATED) as usize).clamp(1, kept.len() - k);
        kept = best(&weights, kept.len() - drop).into_iter().map(|place| kept[place]).collect();
    }
    Ok(kept)
}

/// For each encoded feature the largest penalty, relative to the first, at which the lasso of any class gives it a
/// weight (Tibshirani 1996). Penalties fall step by step, with coordinate descent (Friedman and others 2010).
fn lasso_entry(training: &TrainingSet<'_>) -> Vec<f64> {
    const STEPS: i32 = 30;
    let n = training.rows.nrows() as f64;
    let mut rows = training.rows.to_owned();
    for mut column in rows.columns_mut() {
        let (mean, deviation) = (column.sum() / n, column.std(0.0));
        column.mapv_inplace(|x| if deviation > 1e-12 { (x - mean) / deviation } else { 0.0 });
    }
    let gram = rows.t().dot(&rows) / n;
    let mut entry = vec![0.0; rows.ncols()];
    for class in 0..training.count {
        let share = training.classes.iter().filter(|own| **own == class).count() as f64 / n;
        let target: ndarray::Array1<f64> =
            training.classes.iter().map(|own| f64::from(u8::from(*own == class)) - share).collect();
        let covariances = rows.t().dot(&target) / n;
        let first = covariances.fold(0.0, |most: f64, c| most.max(c.abs()));
        let mut weights = ndarray::Array1::<f64>::zeros(rows.ncols());
        for step in 1..=STEPS {
            let relative = 0.8_f64.powi(step);
            descend(gram.view(), covariances.view(), relative * first, &mut weights);
            for (entry, weight) in entry.iter_mut().zip(&weights) {
                if weight.abs() > 0.0 {
                    *entry = f64::max(*entry, relative);
                }
            }
        }
        // Among encoded features that enter at the same step, the one with the larger weight comes first.
        let heaviest = weights.fold(1e-12, |most: f64, weight| most.max(weight.abs()));
        entry.iter_mut().zip(&weights).for_each(|(entry, weight)| *entry += 1e-6 * weight.abs() / heaviest);
    }
    entry
}

/// Coordinate descent on the lasso, from the given weights. Encoded features have variance 1 or 0.
fn descend(
    gram: ArrayView2<'_, f64>,
    covariances: ArrayView1<'_, f64>,
    penalty: f64,
    weights: &mut ndarray::Array1<f64>,
) {
    for _ in 0..LASSO_ROUNDS {
        let mut change: f64 = 0.0;
        for feature in 0..weights.len() {
            if gram[[feature, feature]] == 0.0 {
                continue;
            }
            let rest =
                covariances[feature] - gram.row(feature).dot(&*weights) + gram[[feature, feature]] * weights[feature];
            let weight = rest.signum() * (rest.abs() - penalty).max(0.0) / gram[[feature, feature]];
            change = change.max((weight - weights[feature]).abs());
            weights[feature] = weight;
        }
        if change < LASSO_CHANGE {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256Plus;

    #[test]
    fn statistics_are_those_computed_by_hand() {
        // The sums by class are 4 and 0, and 2 and 2 are expected. The second feature has no information.
        let rows = array![[1.0, 1.0], [3.0, 1.0], [0.0, 1.0], [0.0, 1.0]];
        assert_eq!(chi2(rows.view(), &[0, 0, 1, 1], 2), [4.0, 0.0]);
        assert!((mutual_information(&[0, 0, 1, 1], &[0, 0, 1, 1], 2) - 2_f64.ln()).abs() < 1e-12);
        assert_eq!(mutual_information(&[0, 1, 0, 1], &[0, 0, 1, 1], 2), 0.0);
    }

    #[test]
    fn every_method_finds_the_features_that_determine_the_class() {
        let mut rng = Xoshiro256Plus::seed_from_u64(3);
        let classes: Vec<usize> = (0..300).map(|row| row % 3).collect();
        let mut rows = Array2::from_shape_fn((300, 6), |_| rng.gen_range(-1.0..1.0));
        for (row, class) in classes.iter().enumerate() {
            rows[[row, 1]] += 4.0 * f64::from(u8::from(*class == 1));
            rows[[row, 4]] += 4.0 * f64::from(u8::from(*class == 2));
        }
        let training = TrainingSet { rows: rows.view(), classes: &classes, count: 3, seed: 1 };
        for method in ["variance:1", "chi2:2", "mutual-information:2", "rfe:2", "l1:2", "tree:2"] {
            let selection: Selection = method.parse().expect(method);
            assert_eq!(selection.choose(&training).expect(method), [1, 4], "{method}");
        }
        assert!(Selection::Variance(1e9).choose(&training).is_err());
    }

    #[test]
    fn invalid_selections_are_refused() {
        for text in ["", "chi2", "chi2:0", "chi2:-1", "variance:x", "variance:-1", "best:3"] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
    }
}
