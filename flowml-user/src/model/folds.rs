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
}

/// The rows of one fold, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// To learn from.
    pub train: Vec<usize>,
    /// To judge.
    pub test: Vec<usize>,
}

/// Divides rows into folds; by time the first part is learnt from alone.
#[must_use]
pub fn folds(labels: &[Arc<str>], count: usize, division: Division, seed: u64) -> Vec<Fold> {
    let rows = labels.len();
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
            let fold = |number| {
                let (test, train) = (0..rows).partition(|&row| fold_of[row] == number);
                Fold { train, test }
            };
            (0..count).map(fold).collect()
        }
    }
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
        let folds = folds(&labels, 5, Division::Stratified, 1);
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
        let folds = folds(&labels(), 4, Division::Time, 1);
        assert_eq!(folds.len(), 4);
        assert!(folds.iter().all(|fold| fold.train.last() < fold.test.first()));
        assert_eq!(folds[3].test.last(), Some(&102));
    }
}
