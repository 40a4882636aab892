//! Checks the invariants of training: scores are finite, and a saved model scores as before.

use flowml_user::learning::batch::{Judgement, Labelled, Plan, TableModel};

/// Trains on a table, and scores it. A table that cannot be trained on gives an error and no model.
pub(super) fn check(table: &Labelled, plan: Plan) {
    match TableModel::train(table, plan) {
        Ok((model, _)) => judge(&model, table),
        Err(error) => assert!(error.to_string().len() > 5),
    }
}

fn judge(model: &TableModel, table: &Labelled) {
    let (rows, _) = model.preprocess(&table.frame).expect("it was learnt from this table");
    assert!(rows.iter().all(|value| value.is_finite()), "what is learnt is finite");
    let judgement = model.judge(rows.view());
    check_judgement(&judgement);
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("model.json");
    model.save(&path).expect("there is room");
    let again = TableModel::load(&path).expect("a model that was written can be read");
    assert_eq!(again.judge(rows.view()), judgement, "a model that was saved judges as before");
}

/// Checks that scores are finite, and probabilities between 0 and 1.
pub(super) fn check_judgement(judgement: &Judgement) {
    if let Judgement::Scores { scores, probabilities, .. } = judgement {
        assert!(scores.iter().all(|score| score.is_finite()), "{scores:?}");
        assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)), "{probabilities:?}");
    }
}
