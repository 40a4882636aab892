//! The columns of statistics of rows.

use super::cell::Cell;
use super::column::OutputColumn;
use crate::features::Learn;
use crate::learning::ClusterStatistics;
use crate::record::{Value, ValueType};

/// A column of statistics.
struct StatisticsColumn {
    name: &'static str,
    kind: ValueType,
    unit: &'static str,
    meaning: &'static str,
    of: fn(&ClusterStatistics) -> Cell,
}

const fn column(
    name: &'static str,
    kind: ValueType,
    unit: &'static str,
    meaning: &'static str,
    of: fn(&ClusterStatistics) -> Cell,
) -> StatisticsColumn {
    StatisticsColumn { name, kind, unit, meaning, of }
}

const fn number(number: u64) -> Cell {
    Cell::Value(Value::Number(number))
}

#[rustfmt::skip]
const STATISTICS: [StatisticsColumn; 11] = [
    column("model", ValueType::Text, "", "SHA-256 hash of the file of the model that has scored the rows",
        |statistics| Cell::Value(Value::Text(statistics.model.hash.to_string()))),
    column("model_number", ValueType::Integer, "", "Number of this model in the fleet; 0 if 'flowml fleet merge' did not make it",
        |statistics| number(statistics.model.number)),
    column("learner", ValueType::Text, "", "Kind of the rows: `flows` or `hosts`",
        |statistics| Cell::Value(Value::Name(statistics.learner))),
    column("cluster", ValueType::Integer, "", "Number of the cluster of the rows",
        |statistics| number(statistics.cluster.into())),
    column("start_ms", ValueType::Integer, "ms", "Unix time of the start of the minute",
        |statistics| number(statistics.start_ms)),
    column("end_ms", ValueType::Integer, "ms", "Unix time of the end of the minute",
        |statistics| number(statistics.end_ms)),
    column("rows", ValueType::Integer, "rows", "Number of normal rows of the cluster",
        |statistics| number(statistics.sums.rows)),
    column("distance", ValueType::Real, "", "Sum of the squared distances of these rows from the centroid",
        |statistics| Cell::Real(statistics.sums.distance)),
    column("sums", ValueType::Reals, "", "For each encoded feature, the sum of its scaled values in these rows",
        |statistics| Cell::List(statistics.sums.sums.clone())),
    column("squares", ValueType::Reals, "", "For each encoded feature, the sum of the squares of these values",
        |statistics| Cell::List(statistics.sums.squares.clone())),
    column("scores", ValueType::Integers, "rows", "Number of rows in each of 256 bins of the score, for calibration; they include a few unusual rows",
        |statistics| Cell::List(statistics.sums.scores.iter().map(|count| *count as f64).collect())),
];

/// The columns of statistics, in their order.
pub fn statistics_columns() -> impl Iterator<Item = OutputColumn> {
    STATISTICS.iter().map(|column| {
        let &StatisticsColumn { name, kind, unit, meaning, .. } = column;
        OutputColumn { name, kind, unit, meaning, learn: Learn::Never, nfstream: false }
    })
}

/// The statistics of a cluster.
pub(in crate::export) fn statistics_cells(
    statistics: &ClusterStatistics,
) -> impl Iterator<Item = (&'static str, Cell)> {
    STATISTICS.iter().map(move |column| (column.name, (column.of)(statistics)))
}
