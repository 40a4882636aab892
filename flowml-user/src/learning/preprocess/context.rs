//! How the meaning of a number depends on another column of its row.

use serde::{Deserialize, Serialize};

use super::few::Few;
use super::groups::Groups;
use crate::features::Learn;
use crate::learning::checked::{Outcome, any, within};

/// The dependence of a number on another column. `C` identifies that column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Context<C> {
    /// A ratio, over as many things as the other column counts.
    Few(Few<C>),
    /// A number that is compared with those of its group.
    Groups(Groups<C>),
}

impl<C> Context<C> {
    /// Fits on pairs of a number and the value in the other column. No spread is smaller than `floor`. `None` if the meaning of
    /// the numbers depends on no other column.
    pub(super) fn fit(learn: Learn, column: C, pairs: impl Iterator<Item = (f64, f64)>, floor: f64) -> Option<Self> {
        match learn {
            Learn::RatioOf(_) => Some(Self::Few(Few::fit(column, pairs))),
            Learn::WithinGroup(_) => Some(Self::Groups(Groups::fit(column, pairs, floor))),
            Learn::Never | Learn::LogScaled | Learn::Ratio | Learn::Category => None,
        }
    }

    /// Whether numbers that are learnt in this way have such a context.
    pub(super) const fn is_of(&self, learn: Learn) -> bool {
        match self {
            Self::Few(_) => matches!(learn, Learn::RatioOf(_)),
            Self::Groups(_) => matches!(learn, Learn::WithinGroup(_)),
        }
    }

    /// The other column.
    pub(super) const fn column(&self) -> &C {
        match self {
            Self::Few(few) => &few.count,
            Self::Groups(groups) => &groups.by,
        }
    }

    /// The number to encode, for the values of both columns.
    pub(super) fn number(&self, value: f64, other: f64) -> f64 {
        match self {
            Self::Few(few) => few.drawn(value, other),
            Self::Groups(groups) => groups.deviation(value, other),
        }
    }

    /// The value that has this number, where the other column has `other`. `None` if that is not known.
    pub(super) fn value(&self, number: f64, other: Option<f64>) -> Option<f64> {
        match self {
            Self::Few(_) => Some(number),
            Self::Groups(groups) => groups.value(number, other?),
        }
    }

    pub(super) fn check(&self) -> Outcome {
        match self {
            Self::Few(few) => within("typical", few.typical, any()),
            Self::Groups(groups) => groups.check(),
        }
    }
}
