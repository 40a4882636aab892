//! Folds for cross-validation: which rows are learnt from, and which are judged.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256Plus;

/// How rows are divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Division {
    /// At random, each fold with the same share of every label.
    #[default]
    Stratified,
    /// By their order: each fold is judged by what was learnt from the rows before it.
    Time,
    /// By their inputs, which are dealt out whole: neighbours in time and space are on one side.
    Input,
}

/// The rows of one fold, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// To learn from.
    pub train: Vec<usize>,
    /// To judge.
    pub test: Vec<usize>,
}

/// Divides rows into folds; by time the first part is learnt from alone. `inputs` says where each row came from.
#[must_use]
pub fn folds(labels: &[Arc<str>], inputs: &[u32], count: usize, division: Division, seed: u64) -> Vec<Fold> {
    let rows = labels.len();
    let dealt = |fold_of: &[usize]| {
        let fold = |number| {
            let (test, train) = (0..rows).partition(|&row| fold_of[row] == number);
            Fold { train, test }
        };
        (0..count).map(fold).collect()
    };
    match division {
        Division::Time => {
            let edge = |part: usize| rows * part / (count + 1);
            let fold = |part| Fold { train: (0..edge(part)).collect(), test: (edge(part)..edge(part + 1)).collect() };
            (1..=count).map(fold).collect()
        }
        Division::Stratified => {
            let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            labels.iter().enumerate().for_each(|(row, label)| by_label.entry(label).or_default().push(row));
            let mut rng = Xoshiro256Plus::seed_from_u64(seed);
            let mut fold_of = vec![0; rows];
            let mut next = 0;
            for rows in by_label.values_mut() {
                rows.shuffle(&mut rng);
                // Going on where the label before ended keeps the folds of one size.
                for &mut row in rows {
                    fold_of[row] = next % count;
                    next += 1;
                }
            }
            dealt(&fold_of)
        }
        Division::Input => {
            // The inputs of one label go to one fold after the other, so that each fold has all labels if it can.
            let mut by_label: BTreeMap<&str, BTreeMap<u32, usize>> = BTreeMap::new();
            for (input, label) in main_labels(labels, inputs) {
                let own = by_label.entry(label).or_default();
                let next = own.len();
                own.insert(input, next % count);
            }
            let fold_of_input: BTreeMap<u32, usize> = by_label.into_values().flatten().collect();
            let fold_of: Vec<usize> = inputs.iter().map(|input| fold_of_input[input]).collect();
            dealt(&fold_of)
        }
    }
}

/// Each input with the label that most of its rows have.
fn main_labels<'a>(labels: &'a [Arc<str>], inputs: &[u32]) -> Vec<(u32, &'a str)> {
    let mut counts: BTreeMap<u32, BTreeMap<&str, usize>> = BTreeMap::new();
    for (label, &input) in labels.iter().zip(inputs) {
        *counts.entry(input).or_default().entry(label).or_default() += 1;
    }
    let most = |counts: BTreeMap<&'a str, usize>| counts.into_iter().max_by_key(|(_, rows)| *rows);
    counts.into_iter().filter_map(|(input, counts)| Some((input, most(counts)?.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<Arc<str>> {
        (0..103).map(|row| Arc::from(if row % 10 == 0 { "attack" } else { "benign" })).collect()
    }

    #[test]
    fn every_row_is_judged_once_and_labels_keep_their_share() {
        let labels = labels();
        let folds = folds(&labels, &[0; 103], 5, Division::Stratified, 1);
        let mut judged: Vec<usize> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
        judged.sort_unstable();
        assert!(judged.into_iter().eq(0..103));
        for Fold { train, test } in &folds {
            assert_eq!(train.len() + test.len(), 103);
            assert!(test.iter().all(|row| train.binary_search(row).is_err()));
            let attacks = test.iter().filter(|&&row| &*labels[row] == "attack").count();
            assert!((2..=3).contains(&attacks) && (20..=21).contains(&test.len()));
        }
    }

    #[test]
    fn by_time_nothing_is_learnt_from_what_comes_later() {
        let folds = folds(&labels(), &[0; 103], 4, Division::Time, 1);
        assert_eq!(folds.len(), 4);
        assert!(folds.iter().all(|fold| fold.train.last() < fold.test.first()));
        assert_eq!(folds[3].test.last(), Some(&102));
    }

    #[test]
    fn an_input_is_on_one_side_and_each_fold_has_every_label() {
        let label = |row: u32| Arc::from(if (row / 10).is_multiple_of(2) { "benign" } else { "attack" });
        let (labels, inputs): (Vec<Arc<str>>, Vec<u32>) = (0..80).map(|row| (label(row), row / 10)).unzip();
        let folds = folds(&labels, &inputs, 2, Division::Input, 1);
        for Fold { train, test } in &folds {
            let inputs_of =
                |rows: &[usize]| rows.iter().map(|&row| inputs[row]).collect::<std::collections::BTreeSet<_>>();
            assert!(inputs_of(train).is_disjoint(&inputs_of(test)));
            assert_eq!((test.len(), inputs_of(test).iter().filter(|input| *input % 2 == 0).count()), (40, 2));
        }
    }
}
