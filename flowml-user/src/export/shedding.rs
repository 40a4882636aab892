//! The levels of overload: the work that each leaves out, and counts of it.

use flowml_common::table::Count;

/// A level of overload. Each level also leaves out what the lower ones leave out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is left out.
    #[default]
    None,
    /// Reasons of anomalous flows.
    Reasons,
    /// Scores of flows of one packet.
    Scores,
    /// Records of flows of one packet.
    Records,
    /// Sessions of flows with one known packet.
    Sessions,
}

/// The work that a level leaves out in addition to the lower levels.
pub struct Step {
    /// The level.
    pub level: Level,
    /// The name in the summary and in metrics.
    pub name: &'static str,
    /// The unit of the number in the summary.
    pub counts: &'static str,
    /// A description for users.
    pub means: &'static str,
}

const fn step(level: Level, name: &'static str, counts: &'static str, means: &'static str) -> Step {
    Step { level, name, counts, means }
}

/// All steps, from the lowest level to the highest.
pub const STEPS: [Step; 4] = [
    step(Level::Reasons, "reasons", "anomalies of flows without reasons", "anomalies of flows have no reasons"),
    step(Level::Scores, "scores", "flow records of one packet without a score", "flows of one packet have no scores"),
    step(
        Level::Records,
        "records",
        "flows of one packet in aggregate records",
        "flows of one packet to one target become one aggregate record",
    ),
    step(
        Level::Sessions,
        "sessions",
        "of these, aggregated on arrival of the packet",
        "flows of one packet are aggregated at once, so a second packet begins another flow",
    ),
];

impl Level {
    /// The step of this level; none for [`Level::None`].
    #[must_use]
    pub fn step(self) -> Option<&'static Step> {
        STEPS.iter().find(|step| step.level == self)
    }

    /// The next lower level.
    #[must_use]
    pub fn below(self) -> Self {
        STEPS.iter().map(|step| step.level).rfind(|level| *level < self).unwrap_or_default()
    }
}

/// Counts of what was left out, in an interval or in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shedding {
    /// The counts by step, in the order of [`STEPS`].
    pub steps: [u64; STEPS.len()],
    /// Packets and frame bytes in aggregate records.
    pub aggregated: Count,
    /// Number of sessions that ended early because there were too many.
    pub displaced: u64,
}

impl Shedding {
    /// Adds `number` to the count of a level's step.
    pub fn count(&mut self, level: Level, number: u64) {
        let own = STEPS.iter().zip(&mut self.steps).find(|(step, _)| step.level == level);
        own.into_iter().for_each(|(_, sum)| *sum += number);
    }

    /// The count of a level's step.
    #[must_use]
    pub fn of(&self, level: Level) -> u64 {
        STEPS.iter().zip(self.steps).find(|(step, _)| step.level == level).map_or(0, |(_, number)| number)
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.steps.iter_mut().zip(other.steps).for_each(|(sum, number)| *sum += number);
        self.aggregated.add(other.aggregated.packets, other.aggregated.bytes);
        self.displaced += other.displaced;
    }

    /// The counts in words, such as `12 reasons, 3,400 scores`; none if nothing was left out.
    #[must_use]
    pub fn in_words(&self) -> Option<String> {
        let of = |(step, number): (&Step, u64)| format!("{} {}", crate::process::words::grouped(number), step.name);
        let words: Vec<String> = STEPS.iter().zip(self.steps).filter(|(_, number)| *number > 0).map(of).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_those_of_the_levels_in_their_order() {
        let levels = [Level::None, Level::Reasons, Level::Scores, Level::Records, Level::Sessions];
        assert!(STEPS.iter().map(|step| step.level).eq(levels[1..].iter().copied()));
        for pair in levels.windows(2) {
            assert!(pair[0] < pair[1]);
            assert_eq!(pair[1].below(), pair[0]);
        }
        assert_eq!(Level::None.below(), Level::None);
        assert!(Level::None.step().is_none());
    }

    #[test]
    fn counts_add_up_and_have_the_names_of_their_steps() {
        let mut sum = Shedding::default();
        assert_eq!(sum.in_words(), None);
        for _ in 0..2 {
            let mut one = Shedding { displaced: 1, ..Shedding::default() };
            one.count(Level::Reasons, 3);
            one.count(Level::Records, 1000);
            one.count(Level::None, 7);
            one.aggregated.add(5, 6);
            sum.add(&one);
        }
        assert_eq!(sum.steps, [6, 0, 2000, 0]);
        assert_eq!((sum.of(Level::Records), sum.displaced), (2000, 2));
        assert_eq!(sum.aggregated, Count { packets: 10, bytes: 12 });
        assert_eq!(sum.in_words().as_deref(), Some("6 reasons, 2,000 records"));
    }
}
