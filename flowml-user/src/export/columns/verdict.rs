//! The columns of the model's verdict, and of its reasons.

use super::cell::Cell;
use super::column::OutputColumn;
use crate::features::Learn;
use crate::learning::{Reason, Verdict, one_line};
use crate::record::{Value, ValueType};

/// A column of the verdict.
pub(in crate::export) struct VerdictColumn {
    pub(in crate::export) name: &'static str,
    pub(in crate::export) kind: ValueType,
    pub(in crate::export) meaning: &'static str,
    pub(in crate::export) of: fn(&Verdict) -> Cell,
}

const fn column(name: &'static str, kind: ValueType, meaning: &'static str, of: fn(&Verdict) -> Cell) -> VerdictColumn {
    VerdictColumn { name, kind, meaning, of }
}

/// The columns of the model's verdict. They are empty while the model warms up, and without a model.
pub(in crate::export) const VERDICT: [VerdictColumn; 6] = [
    column("cluster", ValueType::Integer, "Number of the cluster with the lowest score for this row", |verdict| {
        Cell::Value(Value::Number(verdict.cluster.into()))
    }),
    column("score", ValueType::Real, "Distance from that cluster: ½(d/σ)² − ln π", |verdict| {
        Cell::Real(verdict.score)
    }),
    column("probability", ValueType::Real, "Probability that a normal row scores at least as high", |verdict| {
        Cell::Real(verdict.probability)
    }),
    column(
        "anomaly",
        ValueType::Flag,
        "Whether the probability is below `--alpha`, and the anomaly is not withheld",
        |verdict| Cell::Value(Value::Flag(verdict.anomaly)),
    ),
    column(
        "withheld",
        ValueType::Flag,
        "Whether an anomaly is withheld, because the model's probabilities are not confirmed on local traffic",
        |verdict| Cell::Value(Value::Flag(verdict.withheld)),
    ),
    column(
        "reason",
        ValueType::Text,
        "For an anomaly, the features that contributed most, with values and typical ranges",
        |verdict| {
            Cell::Value(if verdict.reasons.is_empty() {
                Value::Absent
            } else {
                Value::Text(one_line(&verdict.reasons))
            })
        },
    ),
];

pub(super) fn verdict_cells(verdict: Option<&Verdict>) -> impl Iterator<Item = (&'static str, Cell)> {
    VERDICT.iter().map(move |column| (column.name, verdict.map_or(Cell::ABSENT, column.of)))
}

impl From<&VerdictColumn> for OutputColumn {
    fn from(&VerdictColumn { name, kind, meaning, .. }: &VerdictColumn) -> Self {
        Self { name, kind, unit: "", meaning, learn: Learn::Never, nfstream: false }
    }
}

/// A reason of an anomaly.
pub(in crate::export) fn reason_cells(reason: &Reason) -> impl Iterator<Item = (&'static str, Cell)> {
    [
        ("feature", Cell::Value(Value::Name(reason.column))),
        ("unit", Cell::Value(Value::Name(reason.unit))),
        ("value", Cell::Real(reason.value)),
        ("typical", Cell::List(vec![reason.low, reason.high])),
        ("share", Cell::Real(reason.share)),
    ]
    .into_iter()
}
