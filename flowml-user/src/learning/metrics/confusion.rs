//! The confusion matrix, and precision, recall and F1 from it.

use serde::Serialize;

/// Counts of rows by true and predicted class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The classes.
    pub classes: Vec<String>,
    /// For each true class, the number of rows predicted as each class.
    pub rows: Vec<Vec<u64>>,
}

/// The measures of one class, or their means over classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The fraction of the rows predicted as the class that belong to it.
    pub precision: f64,
    /// The fraction of the rows of the class that were predicted as the class.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// Number of rows of the class.
    pub rows: u64,
}

impl Confusion {
    /// An empty matrix.
    #[must_use]
    pub fn new(classes: Vec<String>) -> Self {
        let rows = vec![vec![0; classes.len()]; classes.len()];
        Self { classes, rows }
    }

    /// Counts a row with this true and predicted class.
    pub fn count(&mut self, truth: usize, predicted: usize) {
        self.rows[truth][predicted] += 1;
    }

    /// The fraction of all rows that were predicted correctly; 0 without rows.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes.len()).map(|class| self.rows[class][class]).sum();
        ratio(right, self.rows.iter().flatten().sum())
    }

    /// The measures of a class. Undefined ones are 0, as in scikit-learn.
    #[must_use]
    pub fn figures(&self, class: usize) -> ClassFigures {
        let right = self.rows[class][class];
        let taken = self.rows.iter().map(|row| row[class]).sum();
        let rows = self.rows[class].iter().sum();
        ClassFigures {
            precision: ratio(right, taken),
            recall: ratio(right, rows),
            f1: ratio(2 * right, taken + rows),
            rows,
        }
    }

    /// The means of the measures over all classes that occur, with equal weights.
    #[must_use]
    pub fn macro_figures(&self) -> ClassFigures {
        let occurs =
            |class: &usize| self.rows[*class].iter().sum::<u64>() > 0 || self.rows.iter().any(|row| row[*class] > 0);
        let all: Vec<ClassFigures> = (0..self.classes.len()).filter(occurs).map(|class| self.figures(class)).collect();
        let mean = |of: fn(&ClassFigures) -> f64| all.iter().map(of).sum::<f64>() / all.len().max(1) as f64;
        ClassFigures {
            precision: mean(|figures| figures.precision),
            recall: mean(|figures| figures.recall),
            f1: mean(|figures| figures.f1),
            rows: all.iter().map(|figures| figures.rows).sum(),
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_computed_by_hand() {
        let mut confusion = Confusion::new(["benign", "scan", "never"].map(str::to_owned).into());
        for (truth, predicted, times) in [(0, 0, 6), (0, 1, 2), (1, 1, 3), (1, 0, 1)] {
            (0..times).for_each(|_| confusion.count(truth, predicted));
        }
        assert!((confusion.accuracy() - 9.0 / 12.0).abs() < 1e-12);
        let scan = confusion.figures(1);
        assert!((scan.precision - 0.6).abs() < 1e-12 && (scan.recall - 0.75).abs() < 1e-12);
        assert!((scan.f1 - 2.0 / 3.0).abs() < 1e-12 && scan.rows == 4);
        let all = confusion.macro_figures();
        assert!((all.recall - 0.75).abs() < 1e-12 && all.rows == 12);
        assert_eq!(confusion.figures(2).f1, 0.0);
        assert_eq!(Confusion::new(Vec::new()).accuracy(), 0.0);
    }
}
