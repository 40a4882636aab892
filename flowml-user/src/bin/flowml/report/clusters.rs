//! Shows a sample of the flows in two dimensions, and the features that distinguish their clusters.

use std::collections::BTreeMap;

use anyhow::Result;
use arrow_array::RecordBatch;
use flowml_user::dataset::columns::numbers_of;
use flowml_user::dataset::learnt::Roles;
use flowml_user::features::FLOW_FEATURES;
use flowml_user::learning::batch::{Judgement, Labelled, Plan, TableModel, Task};
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::evaluation::Plane;
use flowml_user::learning::preprocess::{Frame, Values};
use flowml_user::learning::preprocess::{Parameters, Preprocessing, Scaling};
use ndarray::{Array2, ArrayView1};

use super::page::{Boxes, Colour, SERIES, Spread};

/// Maximum number of features shown, the most distinctive first.
const FEATURES: usize = 6;

/// Two features with at least this absolute correlation are redundant.
const SAME: f64 = 0.95;

/// Minimum number of rows for quantiles.
const LEAST_ROWS: usize = 5;

/// The origin of the cluster numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The rows have cluster numbers.
    RowCounts,
    /// The sample was clustered with k-means.
    Sample,
}

/// The clusters of the flows.
#[derive(Clone, Debug)]
pub(super) struct Clusters {
    pub(super) origin: Origin,
    /// The clusters with the most rows of the sample, largest first, as many as there are colours. The last group has
    /// all others.
    pub(super) groups: Vec<Group>,
    /// The anomalies, in the same plane.
    pub(super) anomalous: Vec<(f64, f64)>,
    /// The share of the variance along each axis of the plane.
    pub(super) explained: [f64; 2],
    pub(super) features: Vec<Boxes>,
}

/// Rows of one cluster.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) points: Vec<(f64, f64)>,
}

impl Clusters {
    /// Computes the clusters of a sample of flows; `anomalous` are anomalies, which are shown in addition. None if there are
    /// too few rows or no features.
    pub(super) fn of(sample: &RecordBatch, anomalous: Option<&RecordBatch>) -> Result<Option<Self>> {
        let frame = Roles::default().frame(sample)?;
        let preprocessing = Preprocessing::fit(&frame, Parameters::for_classifiers(Scaling::Standard));
        let (rows, _) = preprocessing.apply(&frame)?;
        if rows.nrows() < 2 || rows.ncols() == 0 {
            return Ok(None);
        }
        let (origin, members) = members(sample, &frame);
        let order = by_size(&members);
        let plane = Plane::of(rows.view());
        let points = plane.project(rows.view());
        let names: BTreeMap<u64, usize> = order.iter().copied().zip(0..).collect();
        let place = |row: usize| names[&members[row]].min(SERIES);
        let mut groups: Vec<Group> =
            order.iter().take(SERIES + 1).enumerate().map(|(at, number)| group(at, *number)).collect();
        points.iter().enumerate().for_each(|(row, point)| groups[place(row)].points.push(*point));
        let anomalous = match anomalous {
            None => Vec::new(),
            Some(anomalous) => plane.project(preprocessing.apply(&Roles::default().frame(anomalous)?)?.0.view()),
        };
        let places: Vec<usize> = (0..members.len()).map(place).collect();
        let features = features(&frame, &preprocessing, &rows, &places, &groups);
        Ok(Some(Self { origin, groups, anomalous, explained: plane.explained(), features }))
    }
}

/// The group of this rank, without points. The last rank is for all other clusters.
fn group(rank: usize, number: u64) -> Group {
    let name = if rank < SERIES { format!("cluster {number}") } else { "others".to_owned() };
    Group { name, colour: Colour::of(rank), points: Vec::new() }
}

/// The cluster of each row: the row's own, or if a row has none, from a clustering of the sample.
fn members(sample: &RecordBatch, frame: &Frame) -> (Origin, Vec<u64>) {
    let own = numbers_of(sample, "cluster").unwrap_or_default();
    if !own.is_empty() && own.iter().all(|cluster| *cluster >= 0.0) {
        return (Origin::RowCounts, own.into_iter().map(|cluster| cluster as u64).collect());
    }
    let plan = Plan {
        task: Task::Detect(DetectorKind::Kmeans),
        scaling: None,
        selection: None,
        k: None,
        seed: 0,
        alpha: 0.01,
        benign: None,
        all_rows: true,
    };
    let table = Labelled { frame: frame.clone(), labels: None, inputs: vec![0; frame.rows()] };
    let learnt = TableModel::train(&table, plan).ok().and_then(|(model, _)| {
        let (rows, _) = model.preprocess(frame).ok()?;
        match model.judge(rows.view()) {
            Judgement::Scores { clusters, .. } => clusters,
            Judgement::Classes(_) => None,
        }
    });
    // Too few rows form one cluster.
    let members = learnt.unwrap_or_else(|| vec![0; frame.rows()]);
    (Origin::Sample, members.into_iter().map(|cluster| cluster as u64).collect())
}

/// The cluster numbers, by decreasing size.
fn by_size(members: &[u64]) -> Vec<u64> {
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    members.iter().for_each(|member| *sizes.entry(*member).or_default() += 1);
    let mut order: Vec<(u64, usize)> = sizes.into_iter().collect();
    order.sort_by_key(|(number, size)| (std::cmp::Reverse(*size), *number));
    order.into_iter().map(|(number, _)| number).collect()
}

/// The share of an encoded feature's variance that lies between the groups: η² of an analysis of variance (Fisher
/// 1925).
fn eta_squared(encoded: ArrayView1<'_, f64>, places: &[usize], groups: usize) -> f64 {
    let mean = encoded.mean().unwrap_or_default();
    let mut sums = vec![(0.0, 0.0); groups];
    encoded.iter().zip(places).for_each(|(value, place)| {
        sums[*place].0 += value;
        sums[*place].1 += 1.0;
    });
    let whole: f64 = encoded.iter().map(|value| (value - mean).powi(2)).sum();
    let between = |(sum, count): &(f64, f64)| if *count > 0.0 { count * (sum / count - mean).powi(2) } else { 0.0 };
    if whole > 0.0 { sums.iter().map(between).sum::<f64>() / whole } else { 0.0 }
}

/// The correlation of two encoded features, −1 to 1.
fn correlation(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    let (mean_a, mean_b) = (a.mean().unwrap_or_default(), b.mean().unwrap_or_default());
    let sum = |of: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| of(a - mean_a, b - mean_b)).sum::<f64>();
    let scale = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    if scale > 0.0 { sum(&|a, b| a * b) / scale } else { 0.0 }
}

/// The features that best distinguish the groups, without redundant ones.
fn features(
    frame: &Frame,
    preprocessing: &Preprocessing,
    rows: &Array2<f64>,
    places: &[usize],
    groups: &[Group],
) -> Vec<Boxes> {
    let encoded = preprocessing.encoded_names();
    let numeric = preprocessing.columns().filter_map(|(name, learnt)| {
        let logarithmic = match learnt? {
            "log number" => true,
            "number" => false,
            _ => return None,
        };
        Some((encoded.iter().position(|encoded| encoded == name)?, name, logarithmic))
    });
    let mut ranked: Vec<_> = numeric
        .map(|(encoded, name, log)| (eta_squared(rows.column(encoded), places, groups.len()), encoded, name, log))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut chosen: Vec<(usize, Boxes)> = Vec::new();
    for (eta_squared, encoded, name, logarithmic) in ranked {
        let new = chosen.iter().all(|(other, _)| correlation(rows.column(encoded), rows.column(*other)).abs() < SAME);
        if chosen.len() < FEATURES && eta_squared > 0.0 && new {
            chosen.extend(spread(frame, name, logarithmic, places, groups).map(|boxes| (encoded, boxes)));
        }
    }
    chosen.into_iter().map(|(_, boxes)| boxes).collect()
}

/// The quantiles of a column in each group.
fn spread(frame: &Frame, name: &str, logarithmic: bool, places: &[usize], groups: &[Group]) -> Option<Boxes> {
    let Values::Numbers(numbers) = &frame.column(name)?.values else { return None };
    let unit = FLOW_FEATURES.iter().find(|feature| feature.name == name).map_or("", |feature| feature.unit);
    let quantiles = |place: usize| {
        let own = numbers.iter().zip(places).filter(|(number, own)| **own == place && number.is_finite());
        let mut own: Vec<f64> = own.map(|(number, _)| *number).collect();
        own.sort_by(f64::total_cmp);
        let quantile = |q: f64| own[(q * (own.len() - 1) as f64).round() as usize];
        (own.len() >= LEAST_ROWS).then(|| Spread { quantiles: [0.05, 0.25, 0.5, 0.75, 0.95].map(quantile) })
    };
    let of_group = |(place, group): (usize, &Group)| {
        let short = group.name.strip_prefix("cluster ").unwrap_or(&group.name).to_owned();
        Some((short, group.colour, quantiles(place)?))
    };
    let groups: Vec<_> = groups.iter().enumerate().filter_map(of_group).collect();
    let name = if unit.is_empty() { name.to_owned() } else { format!("{name} ({unit})") };
    (!groups.is_empty()).then_some(Boxes { name, logarithmic, groups })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array};
    use flowml_user::dataset::keys::KEY_COLUMNS;
    use ndarray::array;

    use super::*;

    /// Flows of which every third has a hundred times the bytes.
    fn flows(clusters: bool) -> RecordBatch {
        let rows = 90;
        let column = |of: &dyn Fn(usize) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter((0..rows).map(|row| Some(of(row)))))
        };
        let large = |row: usize| row.is_multiple_of(3);
        let bytes = |row: usize| if large(row) { 10_000.0 + row as f64 } else { 100.0 + row as f64 };
        let mut columns: Vec<(&str, ArrayRef)> = KEY_COLUMNS.iter().map(|name| (*name, column(&|_| 0.0))).collect();
        columns.push(("src2dst_bytes", column(&bytes)));
        columns.push(("dst2src_bytes", column(&|row| 2.0 * bytes(row))));
        columns.push(("src2dst_bytes_share", column(&|row| (row % 7) as f64 / 7.0)));
        if clusters {
            let own: Int64Array = (0..rows).map(|row| Some(if large(row) { 4 } else { 2 })).collect();
            columns.push(("cluster", Arc::new(own)));
        }
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }

    #[test]
    fn the_clusters_of_the_rows_are_shown_with_distinctive_features() {
        let clusters = Clusters::of(&flows(true), Some(&flows(true).slice(0, 4))).expect("columns of numbers");
        let clusters = clusters.expect("there are rows");
        let sizes: Vec<(&str, usize)> =
            clusters.groups.iter().map(|group| (group.name.as_str(), group.points.len())).collect();
        assert_eq!((clusters.origin, sizes), (Origin::RowCounts, vec![("cluster 2", 60), ("cluster 4", 30)]));
        assert_eq!(clusters.anomalous[0], clusters.groups[1].points[0]);
        assert!(clusters.explained[0] > clusters.explained[1] && clusters.explained.iter().sum::<f64>() <= 1.0);
        // The second feature is redundant to the first.
        let names: Vec<&str> = clusters.features.iter().map(|boxes| boxes.name.as_str()).collect();
        assert_eq!(names, ["src2dst_bytes (bytes)", "src2dst_bytes_share (share)"]);
    }

    #[test]
    fn rows_without_clusters_are_clustered() {
        let clusters = Clusters::of(&flows(false), None).expect("columns of numbers").expect("there are rows");
        assert_eq!(clusters.origin, Origin::Sample);
        assert!(clusters.groups.len() > 1 && clusters.groups.len() <= SERIES + 1);
        assert_eq!(clusters.groups.iter().map(|group| group.points.len()).sum::<usize>(), 90);
        assert!(Clusters::of(&flows(false).slice(0, 1), None).expect("columns of numbers").is_none());
    }

    #[test]
    fn measures_match_values_computed_by_hand() {
        // Means 1 and 4 around 2.5, values at distance 1: 9 of 13 is between the groups.
        let encoded = array![0.0, 2.0, 3.0, 5.0];
        assert!((eta_squared(encoded.view(), &[0, 0, 1, 1], 2) - 9.0 / 13.0).abs() < 1e-12);
        assert!(eta_squared(encoded.view(), &[0, 1, 0, 1], 3) < 0.4);
        assert!((correlation(encoded.view(), (-&encoded).view()) + 1.0).abs() < 1e-12);
        assert_eq!(correlation(encoded.view(), array![1.0, 1.0, 1.0, 1.0].view()), 0.0);
        assert_eq!(by_size(&[3, 1, 3, 2, 2, 7]), [2, 3, 1, 7]);
    }
}
