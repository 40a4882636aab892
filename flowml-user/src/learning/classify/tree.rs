//! A decision tree (CART: Breiman, Friedman, Olshen, Stone 1984) with Gini's impurity.
//!
//! linfa's tree reads all rows of the table at every node. It also adds impurities in the order of a hash table with a
//! random seed, so that with three or more classes it may choose differently among equal cuts in each run. This tree
//! also serves the random forest, which uses only some features at every node.

use ndarray::{ArrayView1, ArrayView2};
use rand::SeedableRng;
use rand::seq::index;
use rand_xoshiro::Xoshiro256Plus;
use serde::{Deserialize, Serialize};

use super::classifier::{Classifier, FitClassifier, TrainingSet, largest};
use crate::learning::checked::{Checked, Outcome, TreeNode, all_within, any, checked, is_tree};
use crate::learning::error::LearnError;

/// A tree as an array, in which children follow their parents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct DecisionTree {
    nodes: Vec<Node>,
}

checked!(DecisionTree);

impl Checked for DecisionTree {
    const NAME: &str = "decision tree";

    fn check(&self) -> Outcome {
        is_tree(&self.nodes)?;
        let cuts = self.nodes.iter().filter_map(|node| match node {
            Node::Cut { at, .. } => Some(at),
            Node::Leaf(_) => None,
        });
        all_within("at", cuts, &any())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Node {
    /// Values of `slot` up to `at` continue at the next node, others at `right`.
    #[serde(rename = "c")]
    Cut { slot: usize, at: f64, right: usize },
    /// The class of the rows here.
    #[serde(rename = "l")]
    Leaf(usize),
}

impl TreeNode for Node {
    fn right(&self) -> Option<usize> {
        match self {
            Self::Cut { right, .. } => Some(*right),
            Self::Leaf(_) => None,
        }
    }
}

/// The state of a growing tree.
pub(crate) struct Growth<'a> {
    pub(crate) rows: ArrayView2<'a, f64>,
    pub(crate) classes: &'a [usize],
    pub(crate) count: usize,
    /// Number of encoded features, chosen at random, that are examined at each node.
    pub(crate) slots: usize,
    pub(crate) rng: Xoshiro256Plus,
    /// For each encoded feature, its reduction of impurity times the number of rows.
    pub(crate) importance: Vec<f64>,
}

/// Rows for which a node must still be made.
struct Waiting {
    /// The positions of these rows in the order of all rows.
    rows: std::ops::Range<usize>,
    /// The parent, if this is its right child.
    right_of: Option<usize>,
}

/// The best cut of a node.
struct Cut {
    slot: usize,
    at: f64,
    /// The sum over both sides of rows times impurity.
    impurity: f64,
}

/// Rows times Gini's impurity: `n − Σ nᵢ² / n`.
fn impurity(counts: &[f64]) -> f64 {
    let all: f64 = counts.iter().sum();
    if all > 0.0 { all - counts.iter().map(|count| count * count).sum::<f64>() / all } else { 0.0 }
}

impl Growth<'_> {
    /// Grows a tree from these rows.
    ///
    /// Pending nodes are on an explicit stack and not on that of the thread, because a tree may be as deep as it has
    /// rows.
    pub(crate) fn grow(&mut self, mut chosen: Vec<usize>) -> DecisionTree {
        let mut nodes = Vec::new();
        let mut waiting = vec![Waiting { rows: 0..chosen.len(), right_of: None }];
        while let Some(Waiting { rows, right_of }) = waiting.pop() {
            let place = nodes.len();
            if let Some(Node::Cut { right, .. }) = right_of.and_then(|parent: usize| nodes.get_mut(parent)) {
                *right = place;
            }
            let (node, left) = self.node(&mut chosen[rows.clone()]);
            nodes.push(node);
            if let Node::Cut { .. } = node {
                let middle = rows.start + left;
                waiting.push(Waiting { rows: middle..rows.end, right_of: Some(place) });
                // The left child directly follows its parent.
                waiting.push(Waiting { rows: rows.start..middle, right_of: None });
            }
        }
        DecisionTree { nodes }
    }

    fn counts(&self, chosen: &[usize]) -> Vec<f64> {
        let mut counts = vec![0.0; self.count];
        chosen.iter().for_each(|&row| counts[self.classes[row]] += 1.0);
        counts
    }

    /// The node of these rows. If it is a cut, the rows are sorted by it, and the returned number of them goes to the
    /// left.
    fn node(&mut self, chosen: &mut [usize]) -> (Node, usize) {
        let counts = self.counts(chosen);
        let before = impurity(&counts);
        let Some(Cut { slot, at, impurity }) = (before > 0.0).then(|| self.best_cut(chosen, &counts)).flatten() else {
            return (Node::Leaf(largest(counts)), 0);
        };
        self.importance[slot] += before - impurity;
        chosen.sort_by_key(|&row| self.rows[[row, slot]] > at);
        (Node::Cut { slot, at, right: 0 }, chosen.partition_point(|&row| self.rows[[row, slot]] <= at))
    }

    /// The cut with the lowest impurity over some of the features that vary here; of equal cuts the first.
    fn best_cut(&mut self, chosen: &[usize], counts: &[f64]) -> Option<Cut> {
        let width = self.rows.ncols();
        let order: Vec<usize> = match self.slots {
            slots if slots >= width => (0..width).collect(),
            _ => index::sample(&mut self.rng, width, width).into_vec(),
        };
        let (mut best, mut looked_at) = (None::<Cut>, 0);
        let mut sorted = Vec::with_capacity(chosen.len());
        for slot in order {
            if looked_at >= self.slots {
                break;
            }
            let first = self.rows[[chosen[0], slot]];
            // Features that do not vary are skipped and do not count as examined, as in scikit-learn.
            if chosen.iter().all(|&row| self.rows[[row, slot]] == first) {
                continue;
            }
            looked_at += 1;
            sorted.clear();
            sorted.extend(chosen.iter().map(|&row| (self.rows[[row, slot]], self.classes[row])));
            sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            best = best_of_slot(slot, &sorted, counts, best);
        }
        best
    }
}

/// The best cut of sorted values, or `best` if that is better.
fn best_of_slot(slot: usize, sorted: &[(f64, usize)], counts: &[f64], mut best: Option<Cut>) -> Option<Cut> {
    let (mut left, mut right) = (vec![0.0; counts.len()], counts.to_vec());
    for pair in sorted.windows(2) {
        left[pair[0].1] += 1.0;
        right[pair[0].1] -= 1.0;
        if pair[0].0 < pair[1].0 {
            let impurity = impurity(&left) + impurity(&right);
            if best.as_ref().is_none_or(|best| impurity < best.impurity) {
                let middle = pair[0].0 + (pair[1].0 - pair[0].0) / 2.0;
                // There is no number between two adjacent floating-point numbers.
                let at = if middle < pair[1].0 { middle } else { pair[0].0 };
                best = Some(Cut { slot, at, impurity });
            }
        }
    }
    best
}

impl DecisionTree {
    /// The class of a row.
    pub(crate) fn class(&self, row: ArrayView1<'_, f64>) -> usize {
        let mut place = 0;
        loop {
            match self.nodes[place] {
                Node::Leaf(class) => return class,
                Node::Cut { slot, at, right } => place = if row[slot] <= at { place + 1 } else { right },
            }
        }
    }

    /// The number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

impl FitClassifier for DecisionTree {
    fn fit(training: &TrainingSet<'_>) -> Result<Self, LearnError> {
        let mut growth = Growth {
            rows: training.rows,
            classes: training.classes,
            count: training.count,
            slots: training.rows.ncols(),
            rng: Xoshiro256Plus::seed_from_u64(training.seed),
            importance: vec![0.0; training.rows.ncols()],
        };
        Ok(growth.grow((0..training.rows.nrows()).collect()))
    }
}

impl Classifier for DecisionTree {
    fn classify(&self, rows: ArrayView2<'_, f64>) -> Vec<usize> {
        rows.outer_iter().map(|row| self.class(row)).collect()
    }

    fn describe(&self) -> String {
        format!("{} nodes", self.len())
    }

    fn inconsistency(&self, width: usize, classes: usize) -> Option<String> {
        let fits = |node: &Node| match node {
            Node::Cut { slot, .. } => *slot < width,
            Node::Leaf(class) => *class < classes,
        };
        (!self.nodes.iter().all(fits))
            .then(|| format!("its tree is not of {width} encoded features and {classes} classes"))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::learning::classify::ClassifierKind;

    /// Adjacent rows have different classes, so that every cut isolates one row.
    #[test]
    fn a_tree_as_deep_as_it_has_rows_is_grown_used_and_saved_on_a_small_stack() {
        const ROWS: usize = 3000;
        let grown = std::thread::Builder::new().stack_size(128 << 10).spawn(|| {
            let rows = Array2::from_shape_fn((ROWS, 1), |(row, _)| row as f64);
            let classes: Vec<usize> = (0..ROWS).map(|row| row % 2).collect();
            let training = TrainingSet { rows: rows.view(), classes: &classes, count: 2, seed: 0 };
            let fitted = ClassifierKind::DecisionTree.fit(&training).expect("there are two classes");
            assert_eq!(fitted.as_classifier().describe(), format!("{} nodes", 2 * ROWS - 1));
            let text = serde_json::to_string(&fitted).expect("it has a form");
            let again: super::super::FittedClassifier = serde_json::from_str(&text).expect("it is its own form");
            assert_eq!(again, fitted);
            assert_eq!(again.as_classifier().classify(rows.view()), classes);
            let few = TrainingSet { rows: rows.slice(ndarray::s![..300, ..]), classes: &classes[..300], ..training };
            ClassifierKind::RandomForest.fit(&few).expect("there are two classes");
        });
        grown.expect("a thread can be begun").join().expect("the stack is large enough");
    }
}
