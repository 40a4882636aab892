//! Converts rates of false alarms to levels of probability, which depend on the number of rows.
//!
//! If probabilities hold, the expected number of rows below a level is the level times the number of rows, however much
//! the rows depend on each other. An event that makes one row or many is therefore at most as frequent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Half-life of the measured row rate. It is long enough that a one-minute attack with many rows hardly changes the
/// level, and short enough to follow the daily cycle.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// The lowest level. Probabilities below it would be extrapolated by many orders of magnitude.
const RAREST: f64 = 1e-12;

/// The highest level.
const MOST_FREQUENT: f64 = 0.1;

/// False incidents per second that are accepted unless a rate of false alarms is given: one a day.
const FALSE_INCIDENTS: f64 = 1.0 / 86_400.0;

/// The budgets of flows and of host windows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Budgets {
    flows: Budget,
    hosts: Budget,
    /// Whether anomalies have these budgets too. Otherwise only the incidents of host windows do.
    of_anomalies: bool,
    incident_level: f64,
}

impl Default for Budgets {
    /// The budget of incidents only.
    fn default() -> Self {
        let [flows, hosts] = [Budget::new(FALSE_INCIDENTS); 2];
        Self { flows, hosts, of_anomalies: false, incident_level: RAREST }
    }
}

impl Budgets {
    /// Sets a rate of false alarms: half of them may be flows, half host windows. `None` limits incidents only.
    pub(super) fn set(&mut self, alarms_per_second: Option<f64>) {
        let each = alarms_per_second.map_or(FALSE_INCIDENTS, |alarms| alarms / 2.0);
        (self.flows.alarms, self.hosts.alarms) = (each, each);
        self.of_anomalies = alarms_per_second.is_some();
    }

    /// The alarm level after `rows` more flows within `elapsed`, if it depends on their number.
    pub(super) fn flows(&mut self, rows: usize, elapsed: Duration) -> Option<f64> {
        let level = self.flows.level(rows, elapsed);
        self.of_anomalies.then_some(level)
    }

    /// The same for host windows. The level of incidents changes in any case.
    pub(super) fn hosts(&mut self, rows: usize, elapsed: Duration) -> Option<f64> {
        self.incident_level = self.hosts.level(rows, elapsed);
        self.of_anomalies.then_some(self.incident_level)
    }

    /// The level below which host windows are as frequent by chance as false incidents may be.
    pub(super) const fn incident_level(&self) -> f64 {
        self.incident_level
    }
}

/// A rate of false alarms, and the measured row rate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Budget {
    /// False alarms per second.
    alarms: f64,
    /// Rows and seconds, exponentially weighted: older ones count less.
    rows: f64,
    seconds: f64,
}

impl Budget {
    const fn new(alarms_per_second: f64) -> Self {
        Self { alarms: alarms_per_second, rows: 0.0, seconds: 0.0 }
    }

    /// The level after `rows` more rows within `elapsed`.
    fn level(&mut self, rows: usize, elapsed: Duration) -> f64 {
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
    fn incidents_have_a_budget_and_anomalies_only_if_a_rate_is_given() {
        let mut incidents_only = Budgets::default();
        assert_eq!([incidents_only.flows(10, SECOND), incidents_only.hosts(10, SECOND)], [None; 2]);
        assert!((incidents_only.incident_level() * 864_000.0 - 1.0).abs() < 1e-9);
        let mut of_all = Budgets::default();
        of_all.set(Some(1.0));
        assert_eq!([of_all.flows(10, SECOND), of_all.hosts(50, SECOND)], [Some(0.05), Some(0.01)]);
        assert_eq!(of_all.incident_level(), 0.01);
        of_all.set(None);
        assert_eq!([of_all.flows(10, SECOND), of_all.hosts(50, SECOND)], [None; 2]);
        assert!((of_all.incident_level() * 4_320_000.0 - 1.0).abs() < 1e-9);
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
