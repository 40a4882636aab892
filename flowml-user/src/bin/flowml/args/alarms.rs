//! The arguments that set how rare an anomaly is.

use clap::Args;
use flowml_user::engine::{AlarmLevel, FalseAlarms};

use super::values::probability;

/// The arguments that set how rare an anomaly is.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct AlarmArguments {
    /// Fraction of normal rows that may be anomalies, between 0 and 1 [default: that of the model, 0.0001 unless it was
    /// trained with another]
    #[arg(long, value_name = "P", value_parser = probability, conflicts_with = "false_alarms")]
    alpha: Option<f64>,

    /// Rate of normal rows that may be anomalies, as in 1/day (minute, hour, day, week): half of them flows, half host windows.
    /// The probability below which a row is an anomaly follows the number of rows
    #[arg(long, value_name = "N/PERIOD")]
    false_alarms: Option<FalseAlarms>,
}

impl AlarmArguments {
    /// The level that was asked for.
    #[must_use]
    pub(crate) fn level(&self) -> Option<AlarmLevel> {
        let rate = self.false_alarms.map(AlarmLevel::FalseAlarms);
        rate.or(self.alpha.map(AlarmLevel::Probability))
    }
}
