//! Random forest (Breiman 2001): a majority vote of trees that differ in their rows and features.

use ndarray::ArrayView2;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256Plus;
use serde::{Deserialize, Serialize};

use super::classifier::{Classifier, FitClassifier, TrainingSet, largest};
use super::tree::{DecisionTree, Growth};
use crate::learning::checked::{Checked, Outcome, checked, holds};
use crate::learning::error::LearnError;

/// The number of trees, as in scikit-learn.
const TREES: u64 = 100;

/// The largest number of rows of a tree, drawn with repetition.
const ROWS: usize = 50_000;

/// The trees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct RandomForest {
    classes: usize,
    trees: Vec<DecisionTree>,
}

checked!(RandomForest);

impl Checked for RandomForest {
    const NAME: &str = "random forest";

    fn check(&self) -> Outcome {
        holds(!self.trees.is_empty(), "expected at least one of 'trees'")?;
        self.trees.iter().try_for_each(DecisionTree::check)
    }
}

impl RandomForest {
    /// Grows a forest, and returns it with the importance of each encoded feature. Importances add up to 1.
    pub(crate) fn grow(training: &TrainingSet<'_>, trees: u64) -> (Self, Vec<f64>) {
        let (rows, width) = training.rows.dim();
        let mut importance = vec![0.0; width];
        let mut tree = |number: u64| {
            let mut rng = Xoshiro256Plus::seed_from_u64(training.seed.wrapping_mul(TREES).wrapping_add(number));
            let chosen = (0..rows.min(ROWS)).map(|_| rng.gen_range(0..rows)).collect();
            let slots = ((width as f64).sqrt() as usize).max(1);
            let zero = vec![0.0; width];
            let (classes, count) = (training.classes, training.count);
            let mut growth = Growth { rows: training.rows, classes, count, slots, rng, importance: zero };
            let tree = growth.grow(chosen);
            let all: f64 = growth.importance.iter().sum();
            if all > 0.0 {
                importance.iter_mut().zip(&growth.importance).for_each(|(sum, own)| *sum += own / all / trees as f64);
            }
            tree
        };
        let trees = (0..trees).map(&mut tree).collect();
        (Self { classes: training.count, trees }, importance)
    }
}

impl FitClassifier for RandomForest {
    fn fit(training: &TrainingSet<'_>) -> Result<Self, LearnError> {
        Ok(Self::grow(training, TREES).0)
    }
}

impl Classifier for RandomForest {
    fn classify(&self, rows: ArrayView2<'_, f64>) -> Vec<usize> {
        let mut votes = vec![0.0; self.classes];
        let majority = |row: ndarray::ArrayView1<'_, f64>| {
            votes.fill(0.0);
            self.trees.iter().for_each(|tree| votes[tree.class(row)] += 1.0);
            largest(votes.iter().copied())
        };
        rows.outer_iter().map(majority).collect()
    }

    fn describe(&self) -> String {
        format!("{} trees, {} nodes", self.trees.len(), self.trees.iter().map(DecisionTree::len).sum::<usize>())
    }

    fn inconsistency(&self, width: usize, classes: usize) -> Option<String> {
        if self.classes != classes {
            return Some(format!("its trees are not of {classes} classes"));
        }
        self.trees.iter().find_map(|tree| tree.inconsistency(width, classes))
    }
}
