//! Human-readable text: numbers, tables of an interval, the summary, and progress.

pub(crate) mod activity;
pub(crate) mod outward;
pub(crate) mod period;
pub(crate) mod progress;
pub(crate) mod services;
pub(crate) mod tables;
pub(crate) mod text;
pub(crate) mod view;
