//! Measures of how well a score separates two classes: ROC and precision-recall curves.

use serde::Serialize;

/// The number of points of a reported curve. Between them it is almost straight.
const REPORTED_POINTS: usize = 200;

/// For each distinct score, in descending order: the number of positive and negative rows that score at least as high.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// True and false positives. The first point has a threshold above all scores.
    points: Vec<(f64, f64)>,
}

/// A curve for charts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    /// False-positive rate, or recall.
    pub x: Vec<f64>,
    /// True-positive rate, or precision.
    pub y: Vec<f64>,
}

impl Curve {
    /// The mean of ROC curves: of their true-positive rates at each false-positive rate (Fawcett 2006, vertical
    /// averaging).
    #[must_use]
    pub fn mean_roc(curves: &[&Self]) -> Self {
        let rate = |curve: &Self, fpr: f64| {
            let next = curve.x.partition_point(|x| *x <= fpr);
            let (x, y) = (curve.x[next - 1], curve.y[next - 1]);
            match (curve.x.get(next), curve.y.get(next)) {
                (Some(to_x), Some(to_y)) => y + (to_y - y) * (fpr - x) / (to_x - x),
                _ => y,
            }
        };
        Self::mean(curves, rate)
    }

    /// The mean of precision-recall curves: of their precisions at each recall.
    #[must_use]
    pub fn mean_precision_recall(curves: &[&Self]) -> Self {
        let precision = |curve: &Self, recall: f64| {
            // The last recall is a sum and may be below 1 by a rounding error.
            let reached = curve.x.partition_point(|x| *x < recall).min(curve.x.len() - 1);
            curve.y[reached]
        };
        Self::mean(curves, precision)
    }

    /// The mean of the curves that have points, at equal steps.
    fn mean(curves: &[&Self], at: impl Fn(&Self, f64) -> f64) -> Self {
        let x: Vec<f64> = (0..=REPORTED_POINTS).map(|point| point as f64 / REPORTED_POINTS as f64).collect();
        let mean = |x: &f64| curves.iter().map(|curve| at(curve, *x)).sum::<f64>() / curves.len() as f64;
        let y = x.iter().map(mean).collect();
        Self { x, y }
    }
}

impl Ranking {
    /// Ranks rows by score. Rows with equal scores form one point of the curve. `None` if one of the classes is missing.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = (f64, bool)>) -> Option<Self> {
        let mut rows: Vec<(f64, bool)> = rows.into_iter().collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut points = vec![(0.0, 0.0)];
        let (mut hits, mut alarms) = (0.0, 0.0);
        for same in rows.chunk_by(|a, b| a.0 == b.0) {
            let positive = same.iter().filter(|(_, positive)| *positive).count();
            hits += positive as f64;
            alarms += (same.len() - positive) as f64;
            points.push((hits, alarms));
        }
        (hits > 0.0 && alarms > 0.0).then_some(Self { points })
    }

    fn totals(&self) -> (f64, f64) {
        self.points[self.points.len() - 1]
    }

    /// The area under the ROC curve: the probability that a positive row scores higher than a negative one. Equal
    /// scores count half (Hanley and McNeil 1982).
    #[must_use]
    pub fn auroc(&self) -> f64 {
        let (hits, alarms) = self.totals();
        let area = |pair: &[(f64, f64)]| (pair[1].1 - pair[0].1) * (pair[1].0 + pair[0].0) / 2.0;
        self.points.windows(2).map(area).sum::<f64>() / (hits * alarms)
    }

    /// The sum of precisions, weighted by the steps of the recall: the precision-recall curve without interpolation.
    #[must_use]
    pub fn average_precision(&self) -> f64 {
        let (hits, _) = self.totals();
        let part = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0) * pair[1].0 / (pair[1].0 + pair[1].1);
        self.points.windows(2).map(part).sum::<f64>() / hits
    }

    /// The largest true-positive rate of a threshold whose false-positive rate is at most `fpr`.
    #[must_use]
    pub fn tpr_at_fpr(&self, fpr: f64) -> f64 {
        let (hits, alarms) = self.totals();
        let within = self.points.partition_point(|(_, false_positives)| *false_positives <= fpr * alarms);
        self.points[within - 1].0 / hits
    }

    /// The ROC curve.
    #[must_use]
    pub fn roc(&self) -> Curve {
        let (hits, alarms) = self.totals();
        let points = self.reported(0);
        Curve { x: points.iter().map(|p| p.1 / alarms).collect(), y: points.iter().map(|p| p.0 / hits).collect() }
    }

    /// The precision-recall curve.
    #[must_use]
    pub fn precision_recall(&self) -> Curve {
        let (hits, _) = self.totals();
        let points = self.reported(1);
        Curve { x: points.iter().map(|p| p.0 / hits).collect(), y: points.iter().map(|p| p.0 / (p.0 + p.1)).collect() }
    }

    /// The first point from `from` on, the last point, and those between them that are a step apart on either axis.
    fn reported(&self, from: usize) -> Vec<(f64, f64)> {
        let (hits, alarms) = self.totals();
        let step = 2.0 / REPORTED_POINTS as f64;
        let mut points: Vec<(f64, f64)> = Vec::new();
        let last = self.points.len() - 1;
        for (at, point) in self.points.iter().enumerate().skip(from) {
            let moved = |before: &(f64, f64)| (point.0 - before.0) / hits + (point.1 - before.1) / alarms >= step;
            if at == last || points.last().is_none_or(moved) {
                points.push(*point);
            }
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(f64, u8)]) -> Ranking {
        Ranking::new(rows.iter().map(|(score, positive)| (*score, *positive == 1))).expect("both classes are there")
    }

    #[test]
    fn areas_are_those_computed_by_hand() {
        // There are 3 × 2 pairs. 0.9 is above both negatives, 0.5 is equal to one and above one, 0.2 is below both.
        let ranking = of(&[(0.9, 1), (0.5, 1), (0.5, 0), (0.4, 0), (0.2, 1)]);
        assert!((ranking.auroc() - 3.5 / 6.0).abs() < 1e-12);
        // Precision 1 at recall 1/3, 2/3 at 2/3, 3/5 at 1.
        assert!((ranking.average_precision() - (1.0 + 2.0 / 3.0 + 0.6) / 3.0).abs() < 1e-12);
        assert!((ranking.tpr_at_fpr(0.0) - 1.0 / 3.0).abs() < 1e-12);
        assert!((ranking.tpr_at_fpr(0.49) - 1.0 / 3.0).abs() < 1e-12);
        assert!((ranking.tpr_at_fpr(0.5) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(ranking.tpr_at_fpr(1.0), 1.0);
    }

    #[test]
    fn one_class_has_no_ranking() {
        assert_eq!(Ranking::new([(1.0, true), (2.0, true)]), None);
        assert_eq!(Ranking::new([]), None);
    }

    #[test]
    fn curves_are_short_and_end_where_they_should() {
        let ranking = of(&(0..10_000).map(|row| (f64::from(row), u8::from(row % 3 == 0))).collect::<Vec<_>>());
        let roc = ranking.roc();
        assert!(roc.x.len() <= REPORTED_POINTS + 2 && roc.x.len() == roc.y.len());
        assert_eq!((roc.x[0], roc.y[0]), (0.0, 0.0));
        assert_eq!((roc.x.last(), roc.y.last()), (Some(&1.0), Some(&1.0)));
        let precision = ranking.precision_recall();
        assert!(precision.x.last() == Some(&1.0) && precision.y.iter().all(|p| (0.0..=1.0).contains(p)));
    }

    #[test]
    fn mean_curves_are_those_computed_by_hand() {
        let curve = |points: &[(f64, f64)]| {
            let (x, y) = points.iter().copied().unzip();
            Curve { x, y }
        };
        let at = |curve: &Curve, x: f64| curve.y[(x * REPORTED_POINTS as f64).round() as usize];
        // One curve rises at once to 0.8, the other follows the diagonal.
        let roc = [curve(&[(0.0, 0.0), (0.0, 0.8), (1.0, 1.0)]), curve(&[(0.0, 0.0), (1.0, 1.0)])];
        let mean = Curve::mean_roc(&[&roc[0], &roc[1]]);
        for (fpr, rate) in [(0.0, 0.4), (0.5, 0.7), (1.0, 1.0)] {
            assert!((at(&mean, fpr) - rate).abs() < 1e-12, "{fpr}: {}", at(&mean, fpr));
        }
        // Half of the positives come first without negatives, the rest with as many negatives.
        let precision = [curve(&[(0.5, 1.0), (1.0, 0.5)]), curve(&[(1.0, 0.9)])];
        let mean = Curve::mean_precision_recall(&[&precision[0], &precision[1]]);
        for (recall, expected) in [(0.0, 0.95), (0.5, 0.95), (0.6, 0.7), (1.0, 0.7)] {
            assert!((at(&mean, recall) - expected).abs() < 1e-12, "{recall}: {}", at(&mean, recall));
        }
    }
}
