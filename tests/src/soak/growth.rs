//! Whether something grows with time: the slope of Theil and Sen, which single high values do not move.

/// The part of a run in which the agent is still filling its caches and models, and which is not judged.
const WARM_UP: f64 = 0.2;

/// A course is judged from so many values on: of fewer, it says more of single floods and of files that are just begun than of time.
const LEAST: usize = 12;

/// Memory may grow by so much of its median over the time that is judged, and by so many MiB more.
const PART: f64 = 0.1;
const MORE_MIB: f64 = 16.0;

/// A course of values, of which the warm-up is left out.
#[derive(Debug, Clone)]
pub(super) struct Course(Vec<(f64, f64)>);

impl Course {
    /// Times in s, ascending, and values; the run lasted until the last of them.
    pub(super) fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points: Vec<_> = points.into_iter().collect();
        let warm = points.last().map_or(0.0, |last| last.0) * WARM_UP;
        Self(points.into_iter().filter(|point| point.0 >= warm).collect())
    }

    fn halves(&self) -> [Vec<f64>; 2] {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        [first, second].map(|half| half.iter().map(|point| point.1).collect())
    }

    /// The medians of both halves.
    pub(super) fn medians(&self) -> [f64; 2] {
        self.halves().map(median)
    }

    /// The median of the slopes between all pairs, for an hour (H. Theil 1950, P. K. Sen, "Estimates of the Regression
    /// Coefficient Based on Kendall's Tau", JASA 63, 1968).
    pub(super) fn slope_per_hour(&self) -> f64 {
        let pairs = self.0.iter().enumerate().flat_map(|(n, a)| self.0[n + 1..].iter().map(move |b| (a, b)));
        let slopes = pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0));
        median(slopes.collect()) * 3600.0
    }

    /// Why memory, in MiB, is said to grow.
    pub(super) fn memory(&self) -> Option<String> {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return None };
        let grown = self.slope_per_hour() * (last.0 - first.0) / 3600.0;
        let bound = self.medians()[0] * PART + MORE_MIB;
        let grows = self.0.len() >= LEAST && grown > bound;
        grows.then(|| format!("memory grew by {grown:.1} MiB, and may grow by {bound:.1} MiB"))
    }

    /// Why what must not grow at all does: the least of the last third is more than the most of the first.
    pub(super) fn count(&self, name: &str) -> Option<String> {
        let (third, values) = (self.0.len() / 3, self.0.iter().map(|point| point.1));
        let most = values.clone().take(third).reduce(f64::max)?;
        let least = values.rev().take(third).reduce(f64::min)?;
        (self.0.len() >= LEAST && least > most).then(|| format!("{name} grew from at most {most} to at least {least}"))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value each minute of half an hour.
    fn course(value: impl Fn(f64) -> f64) -> Course {
        Course::new((1..=30).map(|minute| (f64::from(minute) * 60.0, value(f64::from(minute)))))
    }

    #[test]
    fn a_leak_is_found_and_floods_and_the_warm_up_are_not_leaks() {
        let flood = |minute: f64| if minute % 7.0 == 0.0 { 300.0 } else { 0.0 };
        let leak = course(|minute| 200.0 + 2.0 * minute + flood(minute));
        assert!((leak.slope_per_hour() - 120.0).abs() < 12.0, "{}", leak.slope_per_hour());
        assert!(leak.memory().is_some());
        assert_eq!(course(|minute| 200.0 + flood(minute)).memory(), None);
        assert_eq!(course(|minute| 200.0 + 50.0 * minute.min(5.0)).memory(), None);
        assert_eq!(course(|minute| 200.0 - minute).memory(), None);
    }

    #[test]
    fn one_descriptor_more_is_one_too_many() {
        assert_eq!(course(|minute| 40.0 + minute % 2.0).count("descriptors"), None);
        let grown = course(|minute| if minute < 15.0 { 40.0 } else { 41.0 }).count("descriptors");
        assert_eq!(grown.as_deref(), Some("descriptors grew from at most 40 to at least 41"));
    }

    #[test]
    fn nothing_is_said_of_little() {
        assert_eq!(Course::new([]).memory(), None);
        assert_eq!(Course::new([(1.0, 5.0)]).count("threads"), None);
        assert_eq!(Course::new((1..=6).map(|n| (f64::from(n), f64::from(n) * 100.0))).memory(), None);
    }
}
