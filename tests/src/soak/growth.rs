//! Detects growth over time by the slope of Theil and Sen, which single high values do not affect.

/// Ratio of a run in which the agent still fills its caches and models. It is not checked.
const WARM_UP: f64 = 0.2;

/// Smallest number of values that is checked. Fewer values depend more on single floods and new files than on time.
const LEAST: usize = 12;

/// Memory may grow by this ratio of its median over the checked time, plus this many MiB.
const PART: f64 = 0.1;
const MORE_MIB: f64 = 16.0;

/// A series of values without the warm-up.
#[derive(Debug, Clone)]
pub(super) struct Course(Vec<(f64, f64)>);

impl Course {
    /// Times in s in ascending order, and values. The run lasted until the last time.
    pub(super) fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points: Vec<_> = points.into_iter().collect();
        let warm = points.last().map_or(0.0, |last| last.0) * WARM_UP;
        Self(points.into_iter().filter(|point| point.0 >= warm).collect())
    }

    fn halves(&self) -> [Vec<f64>; 2] {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        [first, second].map(|half| half.iter().map(|point| point.1).collect())
    }

    /// The medians of the first and the second half.
    pub(super) fn medians(&self) -> [f64; 2] {
        self.halves().map(median)
    }

    /// The median of the slopes between all pairs of values, for an hour (H. Theil 1950, P. K. Sen, "Estimates of the
    /// Regression Coefficient Based on Kendall's Tau", JASA 63, 1968).
    pub(super) fn slope_per_hour(&self) -> f64 {
        let pairs = self.0.iter().enumerate().flat_map(|(n, a)| self.0[n + 1..].iter().map(move |b| (a, b)));
        let slopes = pairs.filter(|(a, b)| b.0 > a.0).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0));
        median(slopes.collect()) * 3600.0
    }

    /// A failure if memory, in MiB, grows by more than is allowed.
    pub(super) fn memory(&self) -> Option<String> {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else { return None };
        let grown = self.slope_per_hour() * (last.0 - first.0) / 3600.0;
        let bound = self.medians()[0] * PART + MORE_MIB;
        let grows = self.0.len() >= LEAST && grown > bound;
        grows.then(|| format!("memory grew by {grown:.1} MiB, and may grow by {bound:.1} MiB"))
    }

    /// A failure if a count that must not grow does: if the minimum of the last third exceeds the maximum of the first.
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

    /// A value for each minute of half an hour.
    fn course(value: impl Fn(f64) -> f64) -> Course {
        Course::new((1..=30).map(|minute| (f64::from(minute) * 60.0, value(f64::from(minute)))))
    }

    #[test]
    fn a_leak_is_found_and_a_flood_or_warm_up_is_no_leak() {
        let flood = |minute: f64| if minute % 7.0 == 0.0 { 300.0 } else { 0.0 };
        let leak = course(|minute| 200.0 + 2.0 * minute + flood(minute));
        assert!((leak.slope_per_hour() - 120.0).abs() < 12.0, "{}", leak.slope_per_hour());
        assert!(leak.memory().is_some());
        assert_eq!(course(|minute| 200.0 + flood(minute)).memory(), None);
        assert_eq!(course(|minute| 200.0 + 50.0 * minute.min(5.0)).memory(), None);
        assert_eq!(course(|minute| 200.0 - minute).memory(), None);
    }

    #[test]
    fn one_more_descriptor_is_growth() {
        assert_eq!(course(|minute| 40.0 + minute % 2.0).count("descriptors"), None);
        let grown = course(|minute| if minute < 15.0 { 40.0 } else { 41.0 }).count("descriptors");
        assert_eq!(grown.as_deref(), Some("descriptors grew from at most 40 to at least 41"));
    }

    #[test]
    fn few_values_are_not_checked() {
        assert_eq!(Course::new([]).memory(), None);
        assert_eq!(Course::new([(1.0, 5.0)]).count("threads"), None);
        assert_eq!(Course::new((1..=6).map(|n| (f64::from(n), f64::from(n) * 100.0))).memory(), None);
    }
}
