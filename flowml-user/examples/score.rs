//! Trains a detector on a table of normal rows, and scores the rows of another: `cargo run --example score -- NORMAL TABLE`.

use std::error::Error;
use std::path::{Path, PathBuf};

use flowml_user::dataset::TableReader;
use flowml_user::dataset::learnt::Roles;
use flowml_user::learning::batch::{Judgement, Plan, TableModel, Task};
use flowml_user::learning::detect::DetectorKind;

/// For each row of `table`, the probability that a normal row is at least as anomalous.
pub(crate) fn probabilities(normal: &Path, table: &Path) -> Result<Vec<f64>, Box<dyn Error>> {
    let roles = Roles::default();
    let plan = Plan {
        task: Task::Detect(DetectorKind::Kmeans),
        scaling: None,
        selection: None,
        k: None,
        seed: 1,
        alpha: 0.01,
        benign: None,
        all_rows: true,
    };
    let rows = roles.read(vec![TableReader::open(normal)?], |_| {})?;
    let (model, _cleaning) = TableModel::train(&rows, plan)?;
    let mut all = Vec::new();
    for batch in TableReader::open(table)? {
        let (rows, _cleaning) = model.preprocess(&roles.frame(&batch?)?)?;
        if let Judgement::Scores { probabilities, .. } = model.judge(rows.view()) {
            all.extend(probabilities);
        }
    }
    Ok(all)
}

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [normal, table] = &paths[..] else {
        return Err("expected two tables as arguments: normal rows, and the rows to score".into());
    };
    for (number, probability) in (1..).zip(probabilities(normal, table)?) {
        println!("row {number}: {probability}");
    }
    Ok(())
}
