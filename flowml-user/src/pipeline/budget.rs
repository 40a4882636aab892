//! False alarms in a time as an alarm level: how many rows there are decides how rare an anomaly must be.

use std::time::Duration;

/// Over so long the number of rows a second is taken: long enough that an attack of a minute, which brings many, hardly
/// changes the level, and short enough that it follows the hours of the day.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// No level is rarer: there the probability is an extrapolation by many orders of magnitude.
const RAREST: f64 = 1e-12;

/// Nor more frequent.
const MOST_FREQUENT: f64 = 0.1;

/// A number of false alarms in a time, and the number of rows in which they may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Alarms a second.
    alarms: f64,
    /// Rows and seconds of late, older ones counting less.
    rows: f64,
    seconds: f64,
}

impl Budget {
    pub(super) const fn new(alarms_per_second: f64) -> Self {
        Self { alarms: alarms_per_second, rows: 0.0, seconds: 0.0 }
    }

    /// The level for `rows` that came in `elapsed`.
    pub(super) fn level(&mut self, rows: usize, elapsed: Duration) -> f64 {
        let elapsed = elapsed.as_secs_f64();
        let kept = (-elapsed / HALF_LIFE.as_secs_f64()).exp2();
        self.rows = self.rows * kept + rows as f64;
        self.seconds = self.seconds * kept + elapsed;
        // Before the first row there is nothing to divide by.
        (self.alarms * self.seconds / self.rows.max(1.0)).clamp(RAREST, MOST_FREQUENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_level_times_the_rows_is_what_was_asked_for() {
        let mut budget = Budget::new(1.0 / 86_400.0);
        let mut alarms = 0.0;
        for second in 0..86_400 {
            // Ten rows a second by day, one by night.
            let rows = if second < 43_200 { 1 } else { 10 };
            alarms += budget.level(rows, SECOND) * rows as f64;
        }
        assert!((0.9..1.2).contains(&alarms), "{alarms}");
    }

    #[test]
    fn a_flood_changes_it_little_and_no_rows_are_no_matter() {
        let mut budget = Budget::new(1e-3);
        let before = (0..3600).map(|_| budget.level(10, SECOND)).last();
        assert!(before.is_some_and(|level| (level / 1e-4 - 1.0).abs() < 0.01), "{before:?}");
        assert!(budget.level(8192, SECOND) > 5e-5);
        assert_eq!(Budget::new(1e-3).level(0, SECOND), 1e-3);
        assert_eq!(Budget::new(1e-3).level(0, Duration::ZERO), RAREST);
    }
}
