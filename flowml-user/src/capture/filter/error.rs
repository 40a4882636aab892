//! The error of an expression that is not a filter.

/// The reason why an expression is not a filter: one sentence that names what is wrong and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(pub(super) String);
