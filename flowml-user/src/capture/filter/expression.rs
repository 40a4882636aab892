//! Expressions: checks and their logical connections.

use super::check::Check;

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Constant(bool),
    Check(Check),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
}

impl From<Check> for Expression {
    fn from(check: Check) -> Self {
        Self::Check(check)
    }
}

impl Expression {
    pub(super) fn and(self, other: impl Into<Self>) -> Self {
        Self::And(Box::new(self), Box::new(other.into()))
    }

    pub(super) fn or(self, other: impl Into<Self>) -> Self {
        Self::Or(Box::new(self), Box::new(other.into()))
    }

    pub(super) fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }
}
