//! The alarm level: a probability, or a rate of false alarms.

use std::str::FromStr;

/// The alarm level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AlarmLevel {
    /// The fraction of normal rows that may be anomalies, 0–1.
    Probability(f64),
    /// The rate of normal rows that may be anomalies.
    FalseAlarms(FalseAlarms),
}

/// A rate of false alarms, `1/day`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FalseAlarms {
    /// False alarms a second.
    pub per_second: f64,
}

/// The periods of a rate of false alarms, in seconds.
const PERIODS: [(&str, f64); 4] = [("minute", 60.0), ("hour", 3600.0), ("day", 86_400.0), ("week", 604_800.0)];

impl FromStr for FalseAlarms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.split_once('/').and_then(|(number, period)| {
            let number = number.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= 1e6)?;
            let (_, seconds) = PERIODS.iter().find(|(name, _)| *name == period)?;
            Some(Self { per_second: number / seconds })
        });
        rate.ok_or_else(|| "expected a number and a period (minute, hour, day or week), as in 1/day".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_period() {
        let per_day = |text: &str| text.parse::<FalseAlarms>().map(|rate| (rate.per_second * 86_400.0).round());
        assert_eq!(per_day("1/day"), Ok(1.0));
        assert_eq!(per_day("0.5/hour"), Ok(12.0));
        assert_eq!(per_day("7/week"), Ok(1.0));
        for wrong in ["1", "/day", "0/day", "-1/day", "NaN/day", "1/year", "1e9/minute", "1 / day"] {
            assert!(wrong.parse::<FalseAlarms>().is_err(), "{wrong}");
        }
    }
}
