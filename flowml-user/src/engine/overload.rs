//! The level of overload: how much work is left out, and for how long, depending on the pressure.

use std::fmt;
use std::time::Duration;

use crate::export::Level;

/// The delay of the flow thread behind the drain at which the pressure is 1.
const FARTHEST_BEHIND: Duration = Duration::from_millis(2500);

/// The pressure from which each level applies. The first allows for a burst: the delay is then 0.6 s. At the last the
/// delay is 1.75 s, so that an incident in the first seconds of a flood is reported in time.
const RAISE: [(Level, f64); 4] =
    [(Level::Reasons, 0.25), (Level::Scores, 0.4), (Level::Records, 0.55), (Level::Sessions, 0.7)];

/// Below this pressure there is no overload.
const CALM: f64 = 0.16;

/// The level decreases after this time without pressure.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time doubles each time the pressure returns soon after, up to this.
const MOST_PATIENCE: Duration = Duration::from_secs(160);

/// The pressure on bounded resources, each as a fraction of its bound: 1 means exhausted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    /// The delay of the flow thread: time since the end of the epoch that is now processed, or the expected delay
    /// ([`Speed::delay`]), whichever is longer.
    pub(super) behind: Duration,
    /// Memory used by queued epochs, as a fraction of its limit.
    pub(super) backlog: f64,
    /// Memory used by rows that are queued for a busy output, as a fraction of its limit.
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
            "flows are or will be processed {:.1} s late; the queue of drained flows uses {backlog:.0} % of its memory, the queue of rows \
             {outputs:.0} %",
            behind.as_secs_f64()
        )
    }
}

/// The speed at which epochs come and are processed, from those of the recent past. It is unknown before the first.
#[derive(Debug, Default)]
pub(super) struct Speed {
    coming: Mean,
    processing: Mean,
    /// End of the last epoch, ns.
    last_ns: Option<u64>,
}

/// A mean of seconds per byte, in which earlier epochs count less: the level of overload changes the speed.
#[derive(Debug, Default)]
struct Mean {
    seconds: f64,
    bytes: f64,
}

impl Mean {
    /// The weight of all earlier epochs in relation to their weight one epoch before.
    const DECAY: f64 = 0.75;

    fn add(&mut self, bytes: usize, seconds: f64) {
        self.seconds = self.seconds * Self::DECAY + seconds;
        self.bytes = self.bytes * Self::DECAY + bytes as f64;
    }

    fn per_byte(&self) -> Option<f64> {
        (self.bytes > 0.0 && self.seconds > 0.0).then(|| self.seconds / self.bytes)
    }
}

impl Speed {
    /// The smallest epoch that is used to measure the speed of processing, bytes. Smaller ones take as long as the work
    /// that does not depend on their size.
    const LEAST: usize = 1 << 20;

    /// Adds an epoch of this size that ended at `end_ns`.
    pub(super) fn comes(&mut self, bytes: usize, end_ns: u64) {
        if let Some(last_ns) = self.last_ns.replace(end_ns) {
            self.coming.add(bytes, end_ns.saturating_sub(last_ns) as f64 / 1e9);
        }
    }

    /// Adds an epoch of this size, whose processing took this time.
    pub(super) fn processed(&mut self, bytes: usize, took: Duration) {
        if bytes >= Self::LEAST {
            self.processing.add(bytes, took.as_secs_f64());
        }
    }

    /// The delay of an epoch that ends in a second, when epochs of this size wait. While more come than are processed,
    /// the delay grows. So a flood is known before its delay is long. It may be a short burst: the growth counts at
    /// most as much as the present delay.
    pub(super) fn delay(&self, waiting: usize) -> Duration {
        let Some(processing) = self.processing.per_byte() else { return Duration::ZERO };
        let now = processing * waiting as f64;
        let growth = self.coming.per_byte().map_or(0.0, |coming| (processing / coming - 1.0).max(0.0));
        Duration::try_from_secs_f64(now + growth.min(now)).unwrap_or(Duration::MAX)
    }
}

/// A change of the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// More work is left out.
    Raised,
    /// Less work is left out.
    Lowered,
}

/// The level of overload. It rises immediately. It decreases by one level after a time without pressure.
#[derive(Debug)]
pub(super) struct Overload {
    level: Level,
    calm_since: Option<Duration>,
    patience: Duration,
    /// Time of the last decrease.
    fell: Option<Duration>,
}

impl Overload {
    pub(super) const fn new() -> Self {
        Self { level: Level::None, calm_since: None, patience: PATIENCE, fell: None }
    }

    pub(super) const fn level(&self) -> Level {
        self.level
    }

    /// Updates the level with the pressure at `now`, a time of a monotonic clock. Returns whether the level changed.
    pub(super) fn observe(&mut self, pressure: Pressure, now: Duration) -> Option<Change> {
        let pressure = pressure.value();
        let wanted = RAISE.iter().rfind(|(_, from)| pressure >= *from).map_or(Level::None, |(level, _)| *level);
        if wanted > self.level {
            // If the pressure returns soon, a longer wait avoids that the level changes back and forth.
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
    fn the_pressure_is_that_of_the_most_used_resource() {
        let pressure = Pressure { behind: Duration::from_millis(625), backlog: 0.1, outputs: 0.2 };
        assert_eq!(pressure.value(), 0.25);
        assert_eq!(Pressure { outputs: 0.5, ..pressure }.value(), 0.5);
        assert_eq!(Pressure { backlog: 1.0, ..pressure }.value(), 1.0);
    }

    #[test]
    fn the_delay_of_waiting_epochs_follows_the_speed() {
        const MIB: usize = 1 << 20;
        let is_ms = |delay: Duration, ms: u64| delay.abs_diff(Duration::from_millis(ms)) < Duration::from_micros(10);
        let mut speed = Speed::default();
        assert_eq!(speed.delay(MIB), Duration::ZERO);
        speed.processed(1000, Duration::from_secs(1));
        assert_eq!(speed.delay(MIB), Duration::ZERO, "so small an epoch shows no speed");
        (0..80).for_each(|_| speed.processed(MIB, Duration::from_millis(10)));
        assert!(is_ms(speed.delay(5 * MIB), 50), "how fast epochs come is unknown");
        (0..80).for_each(|n| speed.comes(MIB, n * 10_000_000));
        assert!(is_ms(speed.delay(5 * MIB), 50), "as many come as are processed");
        (0..80).for_each(|n| speed.comes(MIB, 1_000_000_000 + n * 8_000_000));
        assert!(is_ms(speed.delay(100 * MIB), 1250), "a quarter more come");
        assert!(is_ms(speed.delay(5 * MIB), 100), "the growth counts at most as much as the delay");
    }

    #[test]
    fn the_level_rises_at_once_and_falls_step_by_step() {
        let mut overload = Overload::new();
        assert_eq!(overload.observe(of(0.24), seconds(0)), None);
        assert_eq!(overload.observe(of(0.25), seconds(1)), Some(Change::Raised));
        assert_eq!(overload.level(), Level::Reasons);
        assert_eq!(overload.observe(of(0.3), seconds(2)), None);
        assert_eq!(overload.observe(of(1.0), seconds(3)), Some(Change::Raised));
        assert_eq!(overload.level(), Level::Sessions);
        // The pressure is low from 4 s on, and each level takes ten seconds.
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
    fn medium_pressure_changes_nothing() {
        let mut overload = Overload::new();
        overload.observe(of(0.6), seconds(0));
        for second in 1..1000 {
            // Short moments of low pressure do not count.
            let pressure = if second % 9 == 0 { 0.2 } else { 0.0 };
            assert_eq!(overload.observe(of(pressure), seconds(second)), None);
        }
        assert_eq!(overload.level(), Level::Records);
    }

    #[test]
    fn under_a_lasting_load_the_level_changes_less_and_less_often() {
        let mut overload = Overload::new();
        let mut changes = 0;
        for second in 0..3600 {
            // A load that level 3 can handle, and level 2 cannot.
            let pressure = if overload.level() >= Level::Records { 0.0 } else { 0.6 };
            changes += u32::from(overload.observe(of(pressure), seconds(second)).is_some());
        }
        assert!((20..60).contains(&changes), "{changes}");
        // A much later overload starts again with the shortest wait.
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
        fn the_level_is_never_below_the_pressure_and_overload_ends(
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

    /// One step until the pressure counts as low, and one for each level.
    const STEPS_DOWN: usize = 1 + RAISE.len();
}
