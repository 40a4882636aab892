//! Tests that every classifier passes.

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256Plus;

use super::*;

/// Rows around one centre for each class.
fn rows(count: usize, classes: usize, seed: u64) -> (Array2<f64>, Vec<usize>) {
    let mut rng = Xoshiro256Plus::seed_from_u64(seed);
    let labels: Vec<usize> = (0..count).map(|row| row % classes).collect();
    let value = |(row, feature): (usize, usize)| {
        let own = f64::from(u8::from(feature == labels[row]));
        4.0 * own + rng.sample::<f64, _>(StandardNormal)
    };
    (Array2::from_shape_fn((count, 4), value), labels)
}

fn fit(kind: ClassifierKind, rows: &Array2<f64>, classes: &[usize], count: usize) -> FittedClassifier {
    kind.fit(&TrainingSet { rows: rows.view(), classes, count, seed: 5 }).expect("there is enough to learn from")
}

#[test]
fn every_classifier_distinguishes_two_and_three_classes() {
    for count in [2, 3] {
        let ((train, training), (test, truth)) = (rows(300, count, 1), rows(300, count, 2));
        for &kind in ClassifierKind::ALL {
            let classes = fit(kind, &train, &training, count).as_classifier().classify(test.view());
            let right = classes.iter().zip(&truth).filter(|(a, b)| a == b).count();
            assert!(right > 280, "{}: {right} of 300 right with {count} classes", kind.name());
        }
    }
}

#[test]
fn the_same_rows_and_seed_give_the_same_classifier_and_so_does_its_file() {
    let ((train, training), (test, _)) = (rows(150, 3, 1), rows(150, 3, 2));
    for &kind in ClassifierKind::ALL {
        let (one, two) = (fit(kind, &train, &training, 3), fit(kind, &train, &training, 3));
        assert_eq!(one, two, "{}", kind.name());
        let text = serde_json::to_string(&one).expect("a model has a form");
        let again: FittedClassifier = serde_json::from_str(&text).expect("it is its own form");
        let classify = |fitted: &FittedClassifier| fitted.as_classifier().classify(test.view());
        assert_eq!(classify(&again), classify(&one), "{}", kind.name());
        assert_eq!(again.as_classifier().inconsistency(4, 3), None);
        for (width, classes) in [(0, 3), (4, 1)] {
            assert!(again.as_classifier().inconsistency(width, classes).is_some(), "{}", kind.name());
        }
    }
}
