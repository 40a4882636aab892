//! Overload as a state: from how far the flows are behind, how much work is left out, and for how long.

use std::fmt;
use std::time::Duration;

use crate::sink::Level;

/// How far the thread of the flows may be behind the drain.
const FARTHEST_BEHIND: Duration = Duration::from_millis(2500);

/// From which pressure on each level is taken. The first leaves time for a burst: it is 0.6 s behind. The last
/// is 1.75 s behind, so that an incident of the first seconds of a flood is reported while it matters.
const RAISE: [(Level, f64); 4] =
    [(Level::Reasons, 0.25), (Level::Scores, 0.4), (Level::Records, 0.55), (Level::Sessions, 0.7)];

/// Below this pressure there is no overload.
const CALM: f64 = 0.16;

/// For so long it must be calm before a level less is left out …
const PATIENCE: Duration = Duration::from_secs(10);

/// … or twice as long each time that the pressure was back soon after, up to this.
const MOST_PATIENCE: Duration = Duration::from_secs(160);

/// How full that is which is bounded, each as a part of its bound: 1 where there is no more room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    /// How long ago the epoch ended that is processed now.
    pub(super) behind: Duration,
    /// Epochs that wait behind it, of the memory for them.
    pub(super) backlog: f64,
    /// Rows that wait for an output that is busy, of the memory for them.
    pub(super) outputs: f64,
}

impl Pressure {
    fn value(self) -> f64 {
        let behind = self.behind.as_secs_f64() / FARTHEST_BEHIND.as_secs_f64();
        behind.max(self.backlog).max(self.outputs)
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { behind, backlog, outputs } = self;
        let [backlog, outputs] = [backlog, outputs].map(|part| 100.0 * part);
        write!(
            f,
            "flows are processed {:.1} s late; in use is of the memory for flows that wait {backlog:.0} %, of that for rows \
             {outputs:.0} %",
            behind.as_secs_f64()
        )
    }
}

/// What became of the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// More is left out from now on.
    Raised,
    /// Less is left out from now on.
    Lowered,
}

/// The level of overload. It rises at once, and falls by one level after a time without pressure.
#[derive(Debug)]
pub(super) struct Overload {
    level: Level,
    calm_since: Option<Duration>,
    patience: Duration,
    /// When it fell last.
    fell: Option<Duration>,
}

impl Overload {
    pub(super) const fn new() -> Self {
        Self { level: Level::None, calm_since: None, patience: PATIENCE, fell: None }
    }

    pub(super) const fn level(&self) -> Level {
        self.level
    }

    /// Takes the pressure at `now`, a time of a clock that does not go back. Answers whether the level changed.
    pub(super) fn observe(&mut self, pressure: Pressure, now: Duration) -> Option<Change> {
        let pressure = pressure.value();
        let wanted = RAISE.iter().rfind(|(_, from)| pressure >= *from).map_or(Level::None, |(level, _)| *level);
        if wanted > self.level {
            // Where the pressure comes back soon, less would be left out again and again for a moment.
            let back = self.fell.take().is_some_and(|fell| now.saturating_sub(fell) < 2 * self.patience);
            self.patience = if back { (2 * self.patience).min(MOST_PATIENCE) } else { PATIENCE };
            (self.level, self.calm_since) = (wanted, None);
            return Some(Change::Raised);
        }
        if pressure >= CALM {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if self.level == Level::None || now.saturating_sub(since) < self.patience {
            return None;
        }
        (self.level, self.calm_since, self.fell) = (self.level.below(), Some(now), Some(now));
        Some(Change::Lowered)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn of(backlog: f64) -> Pressure {
        Pressure { behind: Duration::ZERO, backlog, outputs: 0.0 }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_pressure_is_that_of_what_is_fullest() {
        let pressure = Pressure { behind: Duration::from_millis(625), backlog: 0.1, outputs: 0.2 };
        assert_eq!(pressure.value(), 0.25);
        assert_eq!(Pressure { outputs: 0.5, ..pressure }.value(), 0.5);
        assert_eq!(Pressure { backlog: 1.0, ..pressure }.value(), 1.0);
    }

    #[test]
    fn it_rises_at_once_as_far_as_it_must_and_falls_step_by_step() {
        let mut overload = Overload::new();
        assert_eq!(overload.observe(of(0.24), seconds(0)), None);
        assert_eq!(overload.observe(of(0.25), seconds(1)), Some(Change::Raised));
        assert_eq!(overload.level(), Level::Reasons);
        assert_eq!(overload.observe(of(0.3), seconds(2)), None);
        assert_eq!(overload.observe(of(1.0), seconds(3)), Some(Change::Raised));
        assert_eq!(overload.level(), Level::Sessions);
        // Calm begins at 4 s, and each level takes ten seconds.
        let levels: Vec<Level> = (4..=60)
            .map(|second| {
                overload.observe(of(0.05), seconds(second));
                overload.level()
            })
            .collect();
        let at = |second: usize| levels[second - 4];
        assert_eq!([13, 14, 23, 24].map(at), [Level::Sessions, Level::Records, Level::Records, Level::Scores]);
        assert_eq!([34, 43, 44, 60].map(at), [Level::Reasons, Level::Reasons, Level::None, Level::None]);
    }

    #[test]
    fn pressure_that_is_neither_high_nor_low_changes_nothing() {
        let mut overload = Overload::new();
        overload.observe(of(0.6), seconds(0));
        for second in 1..1000 {
            // A moment of calm is no calm.
            let pressure = if second % 9 == 0 { 0.2 } else { 0.0 };
            assert_eq!(overload.observe(of(pressure), seconds(second)), None);
        }
        assert_eq!(overload.level(), Level::Records);
    }

    #[test]
    fn a_load_that_lasts_makes_it_flap_less_and_less() {
        let mut overload = Overload::new();
        let mut changes = 0;
        for second in 0..3600 {
            // What level 3 can bear, and level 2 cannot.
            let pressure = if overload.level() >= Level::Records { 0.0 } else { 0.6 };
            changes += u32::from(overload.observe(of(pressure), seconds(second)).is_some());
        }
        assert!((20..60).contains(&changes), "{changes}");
        // Another overload much later begins with little patience again.
        for second in 3600..8000 {
            overload.observe(of(0.0), seconds(second));
        }
        assert_eq!(overload.level(), Level::None);
        overload.observe(of(0.3), seconds(9000));
        assert_eq!(overload.observe(of(0.0), seconds(9001)), None);
        assert_eq!(overload.observe(of(0.0), seconds(9011)), Some(Change::Lowered));
    }

    proptest! {
        #[test]
        fn it_is_never_less_than_the_pressure_asks_for_and_it_ends(
            pressures in prop::collection::vec((0.0..1.5_f64, 0..30_u64), 0..200),
        ) {
            let mut overload = Overload::new();
            let mut now = Duration::ZERO;
            for (pressure, pause) in pressures {
                now += seconds(pause);
                let before = overload.level();
                let change = overload.observe(of(pressure), now);
                let level = overload.level();
                prop_assert_eq!(change == Some(Change::Raised), level > before);
                prop_assert_eq!(change == Some(Change::Lowered), level < before);
                prop_assert!(level >= before.below(), "it falls by one level at a time");
                prop_assert!(RAISE.iter().all(|(of, from)| pressure < *from || level >= *of));
            }
            for _ in 0..STEPS_DOWN {
                now += MOST_PATIENCE;
                overload.observe(of(0.0), now);
            }
            prop_assert_eq!(overload.level(), Level::None);
        }
    }

    /// One to begin the calm, and one for each level.
    const STEPS_DOWN: usize = 1 + RAISE.len();
}
