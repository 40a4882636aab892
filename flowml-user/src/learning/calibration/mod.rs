//! Calibration: from scores to probabilities.

pub(crate) mod held_out;
pub(crate) mod probability;
mod sorted;
