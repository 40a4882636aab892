//! Folds for cross-validation: which rows are trained on and which are tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256Plus;

/// The division of rows into folds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Division {
    /// At random; each fold has the same fraction of every label.
    #[default]
    Stratified,
    /// By order: each fold is tested with a model of the rows before it.
    Time,
    /// By input: all rows of an input are in one fold, so that rows close in time and space stay together.
    Input,
}

/// The rows of one fold, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Rows to test.
    pub test: Vec<usize>,
}

/// Divides rows into folds. `inputs` has the input of each row. By time, the first part is only trained on.
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
                // Each label continues where the previous one ended, which keeps the folds at one size.
                for &mut row in rows {
                    fold_of[row] = next % count;
                    next += 1;
                }
            }
            dealt(&fold_of)
        }
        Division::Input => {
            // The inputs of one label are distributed over the folds in turn, so that each fold has all labels if
            // possible.
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

/// Each input with the most frequent label of its rows.
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
    fn every_row_is_tested_once_and_labels_keep_their_ratio() {
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
    fn folds_by_time_never_train_on_later_rows() {
        let folds = folds(&labels(), &[0; 103], 4, Division::Time, 1);
        assert_eq!(folds.len(), 4);
        assert!(folds.iter().all(|fold| fold.train.last() < fold.test.first()));
        assert_eq!(folds[3].test.last(), Some(&102));
    }

    #[test]
    fn an_input_is_in_one_fold_and_each_fold_has_every_label() {
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
