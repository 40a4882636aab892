//! Evaluates scores against labels, for `flowml eval` and its report.

pub(crate) mod figures;
pub(crate) mod judged;
mod moments;
