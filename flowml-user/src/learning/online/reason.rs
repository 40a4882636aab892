//! The reasons for a score: the columns with the largest share of the distance, and the typical values of the cluster.

use std::fmt;

use ndarray::{ArrayView1, ArrayView2};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::features::{Column, Feature, HOST_FEATURES, Learn};
use crate::learning::checked::{Checked, Outcome, all_within, any, checked};
use crate::learning::cluster::kmeans::Clusters;
use crate::learning::preprocess::scaler::Scaler;
use crate::learning::preprocess::statistics::quantile;

/// A column with a smaller share of the squared distance than this is no reason.
const LEAST_SHARE: f64 = 0.05;

/// Distance by which one normal row moves the ends of a typical range, in scales.
const NUDGE: f64 = 0.01;

/// The contribution of one column to a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// The column's name.
    pub column: &'static str,
    /// The unit of the values.
    pub unit: &'static str,
    /// The row's value.
    pub value: f64,
    /// The 10 % quantile among rows of the nearest cluster; for a category, the typical one.
    pub low: f64,
    /// The 90 % quantile; equal to `low` for a category.
    pub high: f64,
    /// The column's share of the squared distance, 0–1.
    pub share: f64,
}

/// A reason as it is read from a file, where names are text.
#[derive(Deserialize)]
struct Kept {
    column: String,
    unit: String,
    value: f64,
    low: f64,
    high: f64,
    share: f64,
}

impl<'de> Deserialize<'de> for Reason {
    /// Only reasons of incidents are saved, so the columns are those of host windows.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Kept { column, unit, value, low, high, share } = Kept::deserialize(from)?;
        let known = HOST_FEATURES.iter().find(|feature| feature.name == column && feature.unit == unit);
        let unknown = || D::Error::custom(format!("'{column}' in '{unit}' is not a column of host windows"));
        let &Feature { name: column, unit, .. } = known.ok_or_else(unknown)?;
        Ok(Self { column, unit, value, low, high, share })
    }
}

impl fmt::Display for Reason {
    /// For example `dst ports 998 (typical 1–4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (short(self.low), short(self.high));
        write!(f, "{} {} (typical {low}", self.column.replace('_', " "), short(self.value))?;
        if high != low {
            write!(f, "–{high}")?;
        }
        f.write_str(")")
    }
}

/// All reasons in one line.
#[must_use]
pub fn one_line(reasons: &[Reason]) -> String {
    let texts: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// A value for display: about three digits, with a prefix for large values.
fn short(value: f64) -> String {
    let (number, decimals, prefix) = match value.abs() {
        _ if !value.is_finite() => return "undefined".to_owned(),
        1e9.. => (value / 1e9, 1, "G"),
        1e6.. => (value / 1e6, 1, "M"),
        1e4.. => (value / 1e3, 1, "k"),
        100.0.. => (value, 0, ""),
        10.0.. => (value, 1, ""),
        _ => (value, 2, ""),
    };
    let digits = format!("{number:.decimals$}");
    let digits = if decimals > 0 { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    let digits = if digits == "-0" { "0" } else { digits };
    format!("{digits}{prefix}")
}

/// The typical values of each cluster, as scaled features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct Typical {
    width: usize,
    /// For each cluster and each encoded feature: the 10 %, 50 % and 90 % quantiles.
    quantiles: Vec<[f64; 3]>,
}

checked!(Typical);

impl Checked for Typical {
    const NAME: &str = "typical";

    fn check(&self) -> Outcome {
        all_within("quantiles", self.quantiles.as_flattened(), &any())
    }
}

/// The levels of these quantiles.
const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

impl Typical {
    /// Computes the quantiles of training rows. `members` has the cluster of each row.
    pub(crate) fn of(scaled: ArrayView2<'_, f64>, members: &[usize], clusters: &Clusters) -> Self {
        let width = clusters.width();
        let mut quantiles = Vec::with_capacity(clusters.len() * width);
        for cluster in 0..clusters.len() {
            for (feature, center) in clusters.centroid(cluster).enumerate() {
                let own = scaled.column(feature).into_iter().zip(members).filter(|(_, member)| **member == cluster);
                let mut values: Vec<f64> = own.map(|(value, _)| *value).collect();
                values.sort_unstable_by(f64::total_cmp);
                let level = |q| if values.is_empty() { center } else { quantile(&values, q) };
                quantiles.push(LEVELS.map(level));
            }
        }
        Self { width, quantiles }
    }

    /// The quantiles of clusters that move: `change` returns for a cluster and an encoded feature what is added, and then
    /// the factor.
    #[must_use]
    pub(crate) fn moved(&self, change: impl Fn(usize, usize) -> (f64, f64)) -> Self {
        let moved = |(place, quantiles): (usize, &[f64; 3])| {
            let (shift, factor) = change(place / self.width, place % self.width);
            quantiles.map(|quantile| (quantile + shift) * factor)
        };
        Self { width: self.width, quantiles: self.quantiles.iter().enumerate().map(moved).collect() }
    }

    /// Moves the quantiles of `cluster` by one more row: up by `q` or down by `1 − q` of a small step. They converge to
    /// the value below which the fraction `q` of the rows is.
    pub(crate) fn follow(&mut self, cluster: usize, vector: &[f64]) {
        for (quantiles, x) in self.quantiles[cluster * self.width..].iter_mut().zip(vector) {
            for (value, level) in quantiles.iter_mut().zip(LEVELS) {
                // A quantile does not move within a step of the value: counts repeat exactly and should be displayed
                // exactly. Without branches, which nothing predicts, this takes a third of the time.
                let [up, down] = [*x > *value + NUDGE, *x < *value - NUDGE].map(|moves| f64::from(u8::from(moves)));
                *value += up * (NUDGE * level) - down * (NUDGE * (1.0 - level));
            }
        }
    }

    /// Whether there are quantiles for this many clusters and encoded features.
    pub(crate) fn fits(&self, clusters: usize, width: usize) -> bool {
        self.width == width && self.quantiles.len() == clusters * width
    }

    /// The quantiles of all encoded features of one cluster.
    fn cluster(&self, cluster: usize) -> &[[f64; 3]] {
        &self.quantiles[cluster * self.width..][..self.width]
    }
}

/// Explains distances and clusters in the columns' own units.
pub(crate) struct Explain<'a> {
    pub(crate) columns: &'a [Column],
    pub(crate) scaler: &'a Scaler,
    pub(crate) clusters: &'a Clusters,
    pub(crate) typical: &'a Typical,
}

/// A column's typical value in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TypicalValue {
    /// The column's name.
    pub column: &'static str,
    /// The unit of the values.
    pub unit: &'static str,
    /// The 10 % quantile.
    pub low: f64,
    /// The median; for a category, the typical one.
    pub value: f64,
    /// The 90 % quantile.
    pub high: f64,
}

impl fmt::Display for TypicalValue {
    /// For example `dst ports 3 (1–4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (short(self.low), short(self.high));
        write!(f, "{} {}", self.column.replace('_', " "), short(self.value))?;
        if low != high {
            write!(f, " ({low}–{high})")?;
        }
        Ok(())
    }
}

impl Explain<'_> {
    /// The columns with the largest contributions to the distance of a row from the centroid of `cluster`, the largest
    /// first.
    pub(crate) fn reasons(
        &self,
        row: ArrayView1<'_, f64>,
        vector: &[f64],
        cluster: usize,
        at_most: usize,
    ) -> Vec<Reason> {
        let parts = self.by_column(self.clusters.parts(vector, cluster));
        let all: f64 = parts.iter().map(|(_, part)| part).sum();
        let reported = parts.into_iter().take(at_most).filter(|(_, part)| *part > LEAST_SHARE * all);
        reported
            .filter_map(|(column, part)| {
                let TypicalValue { column: name, unit, low, high, .. } =
                    self.typical_value(cluster, column, Some(row))?;
                Some(Reason { column: name, unit, value: row[column], low, high, share: part / all })
            })
            .collect()
    }

    /// The columns in which a cluster differs most from all rows, the largest difference first.
    pub(crate) fn distinguishing(&self, cluster: usize, at_most: usize) -> Vec<TypicalValue> {
        let shares: Vec<f64> = (0..self.clusters.len()).map(|other| self.clusters.share(other)).collect();
        let mut mean = vec![0.0; self.clusters.width()];
        for (other, share) in shares.iter().enumerate() {
            for (sum, c) in mean.iter_mut().zip(self.clusters.centroid(other)) {
                *sum += share * c;
            }
        }
        let parts = self.by_column(self.clusters.centroid(cluster).zip(mean).map(|(c, m)| (c - m) * (c - m)));
        parts.into_iter().filter_map(|(column, _)| self.typical_value(cluster, column, None)).take(at_most).collect()
    }

    /// Sums `parts` (one for each encoded feature) by column, the largest sum first.
    fn by_column(&self, parts: impl Iterator<Item = f64>) -> Vec<(usize, f64)> {
        let mut sums: Vec<(usize, f64)> = (0..self.columns.len()).map(|column| (column, 0.0)).collect();
        for (origin, part) in self.scaler.origins().into_iter().zip(parts) {
            sums[origin].1 += part;
        }
        sums.sort_by(|a, b| b.1.total_cmp(&a.1));
        sums
    }

    /// The typical value of a column: for `row`, if its meaning depends on another column of the row.
    fn typical_value(&self, cluster: usize, column: usize, row: Option<ArrayView1<'_, f64>>) -> Option<TypicalValue> {
        let encoded = self.scaler.encoded_of(column);
        let Column { name, unit, learn, .. } = self.columns[column];
        let [low, value, high] = if learn == Learn::Category {
            let centroid: Vec<f64> = self.clusters.centroid(cluster).skip(encoded.start).take(encoded.len()).collect();
            [self.scaler.raw(column, &centroid, row)?; 3]
        } else {
            let quantiles = self.typical.cluster(cluster).get(encoded.start)?;
            let raw = |q: f64| self.scaler.raw(column, &[q], row);
            [raw(quantiles[0])?, raw(quantiles[1])?, raw(quantiles[2])?]
        };
        Some(TypicalValue { column: name, unit, low, value, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    const COLUMNS: [Column; 3] = [
        Column { name: "dst_ports", unit: "ports", meaning: "", learn: Learn::LogScaled },
        Column { name: "syn_share", unit: "share", meaning: "", learn: Learn::Ratio },
        Column { name: "protocol", unit: "", meaning: "", learn: Learn::Category },
    ];

    /// Explains rows against one cluster of rows with 1–4 ports, SYN shares of 0.05–0.2 and protocol 6.
    fn with_one_cluster<R>(then: impl FnOnce(&Explain<'_>, &Scaler) -> R) -> R {
        let rows = Array2::from_shape_fn((101, 3), |(row, column)| match column {
            0 => 1.0 + (row % 4) as f64,
            1 => 0.05 + 0.15 * row as f64 / 100.0,
            _ => 6.0,
        });
        let scaler = Scaler::fit(rows.view(), &COLUMNS, crate::learning::Below::EVEN);
        let scaled = scaler.scale_all(rows.view());
        let clusters = Clusters::fit(scaled.view(), &scaler.below(), 1, 0);
        let typical = Typical::of(scaled.view(), &[0; 101], &clusters);
        then(&Explain { columns: &COLUMNS, scaler: &scaler, clusters: &clusters, typical: &typical }, &scaler)
    }

    fn reasons(row: [f64; 3]) -> Vec<Reason> {
        with_one_cluster(|explain, scaler| {
            let mut vector = vec![0.0; scaler.width()];
            let row = array![row[0], row[1], row[2]];
            scaler.scale(row.view(), &mut vector);
            explain.reasons(row.view(), &vector, 0, 3)
        })
    }

    #[test]
    fn reasons_are_the_differing_columns_with_their_typical_ranges() {
        let reported = reasons([998.0, 1.0, 6.0]);
        assert_eq!(one_line(&reported), "dst ports 998 (typical 1–4), syn share 1 (typical 0.07–0.18)");
        assert!(reported[0].share > reported[1].share && reported.iter().map(|r| r.share).sum::<f64>() <= 1.0 + 1e-9);
    }

    #[test]
    fn another_category_is_a_reason() {
        assert_eq!(one_line(&reasons([2.0, 0.1, 47.0])), "protocol 47 (typical 6)");
    }

    #[test]
    fn a_row_at_the_centroid_has_no_reasons() {
        let reported = with_one_cluster(|explain, _| {
            let center: Vec<f64> = explain.clusters.centroid(0).collect();
            explain.reasons(array![2.0, 0.1, 6.0].view(), &center, 0, 3)
        });
        assert_eq!(reported, []);
    }

    #[test]
    fn typical_values_follow_the_rows() {
        with_one_cluster(|explain, scaler| {
            let mut typical = explain.typical.clone();
            let mut vector = vec![0.0; scaler.width()];
            for i in 0..20_000 {
                scaler.scale(array![20.0 + f64::from(i % 11), 0.1, 6.0].view(), &mut vector);
                typical.follow(0, &vector);
            }
            let now = Explain { typical: &typical, ..*explain }.typical_value(0, 0, None).expect("a learnt column");
            assert!(
                (now.low - 21.0).abs() < 1.5 && (now.value - 25.0).abs() < 1.5 && (now.high - 29.0).abs() < 1.5,
                "{now}"
            );
        });
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.054, "0.05"),
            (1.0, "1"),
            (9.96, "9.96"),
            (12.0, "12"),
            (99.96, "100"),
            (998.0, "998"),
            (1500.0, "1500"),
            (12_345.0, "12.3k"),
            (3_000_000.0, "3M"),
            (2.5e9, "2.5G"),
            (-0.5, "-0.5"),
            (-0.001, "0"),
            (f64::NAN, "undefined"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text, "{value}");
        }
    }
}
