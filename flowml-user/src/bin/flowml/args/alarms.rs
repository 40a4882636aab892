//! The arguments that set the alarm level.

use clap::Args;
use flowml_user::engine::{AlarmLevel, FalseAlarms};

use super::values::probability;

/// The arguments that set the alarm level.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct AlarmArguments {
    /// Alarm level: the fraction of normal rows that may be reported as anomalies, between 0 and 1 [default: the level
    /// of the model, which is 0.0001 unless it was trained with another]
    #[arg(long, value_name = "P", value_parser = probability, conflicts_with = "false_alarms")]
    alpha: Option<f64>,

    /// Alarm level as a rate of false alarms, as in 1/day (minute, hour, day, week): half for flows, half for host
    /// windows. The probability below which a row is an anomaly is computed from this rate and the number of rows
    #[arg(long, value_name = "N/PERIOD")]
    false_alarms: Option<FalseAlarms>,
}

impl AlarmArguments {
    /// The requested alarm level.
    #[must_use]
    pub(crate) fn level(&self) -> Option<AlarmLevel> {
        let rate = self.false_alarms.map(AlarmLevel::FalseAlarms);
        rate.or(self.alpha.map(AlarmLevel::Probability))
    }
}
