//! Isolation forest (Liu, Ting, Zhou 2008): anomalous rows are isolated by few random cuts.

use ndarray::{ArrayView1, ArrayView2};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256Plus;
use serde::{Deserialize, Serialize};

use super::detector::{Detector, FitDetector, Training};
use crate::learning::checked::{Checked, Outcome, TreeNode, amount, any, checked, divisor, holds, is_tree, within};
use crate::learning::error::LearnError;
use crate::learning::sample::sample;

/// The number of trees in the paper, with which path lengths have converged.
const TREES: u64 = 100;

/// The number of rows for each tree in the paper. With more rows, normal rows mask anomalies.
const ROWS: usize = 256;

/// The Euler–Mascheroni constant.
const GAMMA: f64 = 0.577_215_664_901_532_9;

/// Trees of random cuts. The score is `2^(−E[h] / c(n))`, between 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct IsolationForest {
    /// `c(n)`: the mean path length in a tree of `n` rows, the number from which each tree was grown.
    mean_path: f64,
    trees: Vec<Vec<Node>>,
}

checked!(IsolationForest);

impl Checked for IsolationForest {
    const NAME: &str = "isolation forest";

    fn check(&self) -> Outcome {
        within("mean_path", self.mean_path, divisor())?;
        holds(!self.trees.is_empty(), "expected at least one of 'trees'")?;
        for tree in &self.trees {
            is_tree(tree)?;
            for node in tree {
                match node {
                    Node::Cut { at, .. } => within("at", *at, any())?,
                    Node::Leaf(rest) => within("the path length of a leaf", *rest, amount())?,
                }
            }
        }
        Ok(())
    }
}

/// A node of a tree. Children follow their parent in the array.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Node {
    /// Values of `slot` below `at` continue at the next node, others at `right`.
    #[serde(rename = "c")]
    Cut { slot: usize, at: f64, right: usize },
    /// The mean path length that would isolate the rows of this leaf.
    #[serde(rename = "l")]
    Leaf(f64),
}

impl TreeNode for Node {
    fn right(&self) -> Option<usize> {
        match self {
            Self::Cut { right, .. } => Some(*right),
            Self::Leaf(_) => None,
        }
    }
}

/// The mean path length of an unsuccessful search in a binary search tree of `n` rows: equation 1 of the paper, with
/// exact harmonic numbers where the approximation is coarse.
fn mean_path(n: usize) -> f64 {
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => 2.0 * (((n - 1) as f64).ln() + GAMMA) - 2.0 * (n - 1) as f64 / n as f64,
    }
}

impl FitDetector for IsolationForest {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError> {
        let rows = ROWS.min(training.rows.nrows());
        let depth = (rows as f64).log2().ceil() as usize;
        let tree = |number: u64| {
            // The random numbers of a tree do not depend on those of other trees.
            let seed = training.seed.wrapping_mul(TREES).wrapping_add(number);
            let mut chosen = sample(training.rows.nrows(), rows, seed);
            let mut rng = Xoshiro256Plus::seed_from_u64(!seed);
            let mut nodes = Vec::new();
            grow(training.rows, &mut chosen, depth, &mut rng, &mut nodes);
            nodes
        };
        Ok(Self { mean_path: mean_path(rows), trees: (0..TREES).map(tree).collect() })
    }
}

/// Appends the tree of `chosen` rows to `nodes`.
fn grow(
    rows: ArrayView2<'_, f64>,
    chosen: &mut [usize],
    depth: usize,
    rng: &mut Xoshiro256Plus,
    nodes: &mut Vec<Node>,
) {
    let Some((slot, at)) = (depth > 0).then(|| cut(rows, chosen, rng)).flatten() else {
        nodes.push(Node::Leaf(mean_path(chosen.len())));
        return;
    };
    let place = nodes.len();
    nodes.push(Node::Leaf(0.0));
    chosen.sort_by_key(|&row| rows[[row, slot]] >= at);
    let middle = chosen.partition_point(|&row| rows[[row, slot]] < at);
    let (left, right) = chosen.split_at_mut(middle);
    grow(rows, left, depth - 1, rng, nodes);
    nodes[place] = Node::Cut { slot, at, right: nodes.len() };
    grow(rows, right, depth - 1, rng, nodes);
}

/// A random cut through a random feature in which these rows differ, if there is one.
fn cut(rows: ArrayView2<'_, f64>, chosen: &[usize], rng: &mut Xoshiro256Plus) -> Option<(usize, f64)> {
    let range = |slot: usize| {
        let values = chosen.iter().map(|&row| rows[[row, slot]]);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)))
    };
    let varying: Vec<(usize, f64, f64)> = (0..rows.ncols())
        .map(|slot| (slot, range(slot)))
        .filter(|(_, (a, b))| a < b)
        .map(|(s, (a, b))| (s, a, b))
        .collect();
    if varying.is_empty() {
        return None;
    }
    let (slot, least, most) = varying[rng.gen_range(0..varying.len())];
    // The cut is above the smallest value, so that both sides have rows.
    let at = rng.gen_range(least..most);
    Some((slot, if at > least { at } else { most }))
}

impl IsolationForest {
    fn path(tree: &[Node], row: ArrayView1<'_, f64>) -> f64 {
        let (mut at, mut depth) = (0, 0.0);
        loop {
            match tree[at] {
                Node::Leaf(rest) => return depth + rest,
                Node::Cut { slot, at: threshold, right } => {
                    depth += 1.0;
                    at = if row[slot] < threshold { at + 1 } else { right };
                }
            }
        }
    }
}

impl Detector for IsolationForest {
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        let score = |row: ArrayView1<'_, f64>| {
            let paths: f64 = self.trees.iter().map(|tree| Self::path(tree, row)).sum();
            (-paths / (self.trees.len() as f64 * self.mean_path)).exp2()
        };
        rows.outer_iter().map(score).collect()
    }

    fn describe(&self) -> String {
        format!("{} trees, {} nodes", self.trees.len(), self.trees.iter().map(Vec::len).sum::<usize>())
    }

    fn inconsistency(&self, width: usize) -> Option<String> {
        let fits = |node: &Node| !matches!(node, Node::Cut { slot, .. } if *slot >= width);
        (!self.trees.iter().flatten().all(fits)).then(|| format!("its trees are not of {width} encoded features"))
    }
}
