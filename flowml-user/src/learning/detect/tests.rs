//! Tests that every detector passes.

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256Plus;

use super::*;
use crate::learning::metrics::Ranking;

/// Rows around two centres. The last `anomalous` rows are far from both.
fn rows(count: usize, anomalous: usize, seed: u64) -> Array2<f64> {
    let mut rng = Xoshiro256Plus::seed_from_u64(seed);
    Array2::from_shape_fn((count + anomalous, 4), |(row, feature)| {
        let centre = match (row < count, row % 2, feature) {
            (true, 0, _) => -5.0,
            (true, _, _) => 5.0,
            // Between the two centres, where each feature alone is normal, and away from both.
            (false, _, 0 | 1) => 5.0,
            (false, _, _) => -5.0,
        };
        centre + rng.sample::<f64, _>(StandardNormal)
    })
}

fn fit(kind: DetectorKind, rows: &Array2<f64>, seed: u64) -> FittedDetector {
    let training = Training { rows: rows.view(), below: &[1.0; 4], k: None, seed };
    kind.fit(&training).expect("there is enough to learn from")
}

#[test]
fn every_detector_distinguishes_anomalous_from_normal_rows() {
    let (train, test) = (rows(600, 0, 1), rows(400, 40, 2));
    for &kind in DetectorKind::ALL {
        let scores = fit(kind, &train, 3).as_detector().score(test.view());
        assert!(scores.iter().all(|score| score.is_finite()), "{}", kind.name());
        let auroc =
            Ranking::new(scores.into_iter().zip((0..440).map(|row| row >= 400))).expect("both are there").auroc();
        // Trees, which divide by one feature at a time, separate these rows last.
        let least = if kind == DetectorKind::IsolationForest { 0.9 } else { 0.99 };
        assert!(auroc > least, "{}: {auroc}", kind.name());
    }
}

#[test]
fn the_same_rows_and_seed_give_the_same_detector_and_so_does_its_file() {
    let (train, test) = (rows(200, 5, 1), rows(50, 5, 2));
    for &kind in DetectorKind::ALL {
        let (one, two) = (fit(kind, &train, 3), fit(kind, &train, 3));
        assert_eq!(one, two, "{}", kind.name());
        let text = serde_json::to_string(&one).expect("a model has a form");
        let again: FittedDetector = serde_json::from_str(&text).expect("it is its own form");
        assert_eq!(again.kind(), kind);
        assert_eq!(again.as_detector().score(test.view()), one.as_detector().score(test.view()), "{}", kind.name());
        assert_eq!(again.as_detector().inconsistency(4), None);
        assert!(again.as_detector().inconsistency(3).is_some(), "{} has other encoded features", kind.name());
    }
}

#[test]
fn equal_rows_are_accepted_and_too_few_are_refused() {
    let (same, few, empty) = (Array2::ones((50, 4)), Array2::ones((3, 4)), Array2::zeros((50, 0)));
    for &kind in DetectorKind::ALL {
        let scores = fit(kind, &same, 0).as_detector().score(Array2::zeros((1, 4)).view());
        assert!(scores[0].is_finite(), "{}: {scores:?}", kind.name());
        let training = Training { rows: few.view(), below: &[1.0; 4], k: None, seed: 0 };
        assert!(matches!(kind.fit(&training), Err(LearnError::TooFewRows { found: 3, .. })));
        let training = Training { rows: empty.view(), below: &[], k: None, seed: 0 };
        assert!(matches!(kind.fit(&training), Err(LearnError::NoColumns)));
    }
}

#[test]
fn a_cyclic_tree_is_refused() {
    let text = serde_json::to_string(&fit(DetectorKind::IsolationForest, &rows(50, 0, 1), 0)).expect("it has a form");
    let (head, rest) = text.split_once("\"right\":").expect("there is a cut");
    let digits = rest.find(|c: char| !c.is_ascii_digit()).expect("the number ends");
    let looped = format!("{head}\"right\":0{}", &rest[digits..]);
    let error = serde_json::from_str::<FittedDetector>(&looped).expect_err("a node is its own descendant").to_string();
    assert!(error.starts_with("isolation forest: node 0 leads to node 0"), "{error}");
}
