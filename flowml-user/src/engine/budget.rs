//! Converts a rate of false alarms to an alarm level, which depends on the number of rows.

use std::time::Duration;

/// Half-life of the measured row rate. It is long enough that a one-minute attack with many rows hardly changes the
/// level, and short enough to follow the daily cycle.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// The lowest level. Probabilities below it would be extrapolated by many orders of magnitude.
const RAREST: f64 = 1e-12;

/// The highest level.
const MOST_FREQUENT: f64 = 0.1;

/// A rate of false alarms, and the measured row rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// False alarms per second.
    alarms: f64,
    /// Rows and seconds, exponentially weighted: older ones count less.
    rows: f64,
    seconds: f64,
}

impl Budget {
    pub(super) const fn new(alarms_per_second: f64) -> Self {
        Self { alarms: alarms_per_second, rows: 0.0, seconds: 0.0 }
    }

    /// The level after `rows` more rows within `elapsed`.
    pub(super) fn level(&mut self, rows: usize, elapsed: Duration) -> f64 {
        let elapsed = elapsed.as_secs_f64();
        let kept = (-elapsed / HALF_LIFE.as_secs_f64()).exp2();
        self.rows = self.rows * kept + rows as f64;
        self.seconds = self.seconds * kept + elapsed;
        // Avoids a division by zero before the first row.
        (self.alarms * self.seconds / self.rows.max(1.0)).clamp(RAREST, MOST_FREQUENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_level_times_the_rows_is_the_requested_rate() {
        let mut budget = Budget::new(1.0 / 86_400.0);
        let mut alarms = 0.0;
        for second in 0..86_400 {
            // One row per second in the first half of the day, ten in the second half.
            let rows = if second < 43_200 { 1 } else { 10 };
            alarms += budget.level(rows, SECOND) * rows as f64;
        }
        assert!((0.9..1.2).contains(&alarms), "{alarms}");
    }

    #[test]
    fn a_flood_changes_the_level_little_and_zero_rows_are_valid() {
        let mut budget = Budget::new(1e-3);
        let before = (0..3600).map(|_| budget.level(10, SECOND)).last();
        assert!(before.is_some_and(|level| (level / 1e-4 - 1.0).abs() < 0.01), "{before:?}");
        assert!(budget.level(8192, SECOND) > 5e-5);
        assert_eq!(Budget::new(1e-3).level(0, SECOND), 1e-3);
        assert_eq!(Budget::new(1e-3).level(0, Duration::ZERO), RAREST);
    }
}
