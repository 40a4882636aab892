//! Compares flowml with scikit-learn: measures exactly, classifiers and detectors within stated bounds.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flowml_tests::peers::{Peers, require_peers};
use flowml_user::dataset::learnt::Roles;
use flowml_user::dataset::{HeaderRow, TableReader};
use flowml_user::learning::batch::{Judgement, Labelled, Plan, TableModel, Task};
use flowml_user::learning::classify::ClassifierKind;
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::metrics::{Ranking, davies_bouldin, silhouette};
use flowml_user::learning::preprocess::{Frame, FrameColumn, Values};
use flowml_user::learning::select::{chi2, mutual_information};
use ndarray::{Array2, Axis};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};

/// A folder of matrices for the peer. It is removed with its guard.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flowml-learning-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, rows: &Array2<f64>) {
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(self.0.join(format!("{name}.{}.f64", rows.ncols())), bytes).unwrap();
    }

    fn ask(&self, peers: &Peers, requests: &[Value]) -> Value {
        let lines: String = requests.iter().map(|request| format!("{request}\n")).collect();
        serde_json::from_str(&peers.run("learning_figures.py", &[&self.0], &lines).unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // An error is ignored: the folder is a temporary one.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn random() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(11)
}

/// A sum of uniform random numbers, which is approximately normal.
fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
    (0..12).map(|_| random.gen_range(-0.5..0.5)).sum()
}

/// Rows around a centre for each class. The classes overlap, so that no classifier is always right.
fn blobs(rows: usize, classes: usize, random: &mut Xoshiro256PlusPlus) -> (Array2<f64>, Vec<usize>) {
    let labels: Vec<usize> = (0..rows).map(|row| row % classes).collect();
    let centre = |class: usize, slot: usize| f64::from(u8::from(slot % classes == class)) * 1.5;
    let values = Array2::from_shape_fn((rows, 6), |(row, slot)| centre(labels[row], slot) + normal(random));
    (values, labels)
}

fn column(classes: &[usize]) -> Array2<f64> {
    Array2::from_shape_fn((classes.len(), 1), |(row, _)| classes[row] as f64)
}

fn near(ours: f64, theirs: &Value, bound: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap_or_else(|| panic!("{what}: no number from scikit-learn"));
    assert!((ours - theirs).abs() <= bound, "{what}: {ours}, scikit-learn {theirs}, bound {bound}");
}

#[test]
fn measures_equal_those_of_scikit_learn() {
    let Some(peers) = require_peers() else { return };
    let (folder, mut random) = (Folder::new("measures"), random());
    // Scores of two digits, so that many are equal.
    let scored: Vec<(f64, bool)> = (0..3000)
        .map(|row| (((normal(&mut random) + f64::from(u8::from(row % 7 == 0))) * 100.0).round() / 100.0, row % 7 == 0))
        .collect();
    let truth = |positive: bool| f64::from(u8::from(positive));
    folder.write("scored", &Array2::from_shape_fn((3000, 2), |(row, at)| [scored[row].0, truth(scored[row].1)][at]));
    let (rows, classes) = blobs(400, 3, &mut random);
    folder.write("rows", &rows);
    folder.write("classes", &column(&classes));
    let counts = rows.mapv(|value| (value.abs() * 3.0).round());
    folder.write("counts", &counts);
    let found = folder.ask(
        &peers,
        &[
            json!({"what": "ranking", "rows": "scored"}),
            json!({"what": "clusters", "rows": "rows", "classes": "classes"}),
            json!({"what": "selection", "rows": "counts", "classes": "classes"}),
        ],
    );
    let ranking = Ranking::new(scored).unwrap();
    near(ranking.auroc(), &found["ranking"]["auroc"], 1e-9, "AUROC");
    near(ranking.average_precision(), &found["ranking"]["average_precision"], 1e-9, "average precision");
    for fpr in ["0.1", "0.01"] {
        near(ranking.tpr_at_fpr(fpr.parse().unwrap()), &found["ranking"]["tpr_at_fpr"][fpr], 1e-9, "TPR");
    }
    near(silhouette(rows.view(), &classes).unwrap(), &found["clusters"]["silhouette"], 1e-9, "silhouette");
    near(davies_bouldin(rows.view(), &classes).unwrap(), &found["clusters"]["davies_bouldin"], 1e-9, "Davies-Bouldin");
    let statistics = chi2(counts.view(), &classes, 3);
    for (slot, statistic) in statistics.into_iter().enumerate() {
        near(statistic, &found["selection"]["chi2"][slot], 1e-9, "χ²");
        let bins: Vec<usize> = counts.column(slot).iter().map(|count| *count as usize).collect();
        let information = mutual_information(&bins, &classes, 3);
        near(information, &found["selection"]["mutual_information"][slot], 1e-9, "mutual information");
    }
}

/// A table of numbers, with a text for each class as its label.
fn table(rows: &Array2<f64>, classes: &[usize]) -> Labelled {
    let column = |(slot, values): (usize, ndarray::ArrayView1<'_, f64>)| FrameColumn {
        name: format!("x{slot}"),
        learn: None,
        values: Values::Numbers(values.to_vec()),
    };
    let columns = rows.columns().into_iter().enumerate().map(column).collect();
    let labels = classes.iter().map(|class| format!("class{class}").into()).collect();
    Labelled { frame: Frame::new(rows.nrows(), columns), labels: Some(labels), inputs: vec![0; rows.nrows()] }
}

fn plan(task: Task, benign: Option<&str>) -> Plan {
    let benign = benign.map(str::to_owned);
    Plan { task, scaling: None, selection: None, k: None, seed: 0, alpha: 0.01, benign, all_rows: false }
}

/// The preprocessed rows of a table, each followed by the number of its class.
fn with_classes(model: &TableModel, table: &Labelled) -> Array2<f64> {
    let (rows, _) = model.preprocess(&table.frame).unwrap();
    let number = |label: &str| {
        let class = model.plan().class(label);
        model.classes().iter().position(|own| own == class).unwrap() as f64
    };
    let classes: Vec<f64> = table.labels.as_ref().unwrap().iter().map(|label| number(label)).collect();
    let classes = Array2::from_shape_vec((classes.len(), 1), classes).unwrap();
    ndarray::concatenate(Axis(1), &[rows.view(), classes.view()]).unwrap()
}

/// The accuracy of each classifier on `test`, and scikit-learn's on the same preprocessed rows.
fn accuracies(
    peers: &Peers,
    name: &str,
    train: &Labelled,
    test: &Labelled,
    benign: Option<&str>,
    kinds: &[ClassifierKind],
) -> (BTreeMap<&'static str, f64>, Value) {
    let folder = Folder::new(name);
    let mut ours = BTreeMap::new();
    for &kind in kinds {
        let (model, _) = TableModel::train(train, plan(Task::Classify(kind), benign)).unwrap();
        let rows = with_classes(&model, test);
        if ours.is_empty() {
            folder.write("train", &with_classes(&model, train));
            folder.write("test", &rows);
        }
        let truth = rows.column(rows.ncols() - 1);
        let Judgement::Classes(classes) = model.judge(rows.slice(ndarray::s![.., ..-1])) else { unreachable!() };
        let right = classes.iter().zip(truth).filter(|(class, truth)| **class as f64 == **truth).count();
        ours.insert(kind.name(), right as f64 / rows.nrows() as f64);
    }
    let names: Vec<&str> = ours.keys().copied().collect();
    let request = json!({"what": "classifiers", "as": "accuracy", "train": "train", "test": "test", "names": names});
    let theirs = folder.ask(peers, &[request])["accuracy"].clone();
    (ours, theirs)
}

#[test]
fn classifiers_are_as_accurate_as_those_of_scikit_learn() {
    let Some(peers) = require_peers() else { return };
    let mut random = random();
    let (rows, classes) = blobs(1500, 3, &mut random);
    let (others, truth) = blobs(3000, 3, &mut random);
    let (train, test) = (table(&rows, &classes), table(&others, &truth));
    let (ours, theirs) = accuracies(&peers, "blobs", &train, &test, None, ClassifierKind::ALL);
    let bounds =
        [("naive-bayes", 1e-3), ("logistic", 5e-3), ("svm", 1e-2), ("decision-tree", 2e-2), ("random-forest", 2e-2)];
    for (name, bound) in bounds {
        eprintln!("{name}: {:.4}, scikit-learn {}", ours[name], theirs[name]);
        near(ours[name], &theirs[name], bound, name);
    }
}

#[test]
fn detectors_rank_rows_as_well_as_those_of_scikit_learn() {
    let Some(peers) = require_peers() else { return };
    let (folder, mut random) = (Folder::new("detectors"), random());
    let (rows, _) = blobs(1500, 2, &mut random);
    let (mut others, _) = blobs(2000, 2, &mut random);
    // Every tenth row is farther from the centre than most.
    for mut row in others.rows_mut().into_iter().step_by(10) {
        row.mapv_inplace(|value| value * 2.2);
    }
    let truth: Vec<usize> = (0..2000).map(|row| usize::from(row % 10 == 0)).collect();
    let mut ours = BTreeMap::new();
    for kind in [DetectorKind::IsolationForest, DetectorKind::OneClassSvm] {
        let (model, _) = TableModel::train(&table(&rows, &[0; 1500]), plan(Task::Detect(kind), None)).unwrap();
        let (preprocessed, _) = model.preprocess(&table(&others, &truth).frame).unwrap();
        if ours.is_empty() {
            folder.write("train", &model.preprocess(&table(&rows, &[0; 1500]).frame).unwrap().0);
            let all = ndarray::concatenate(Axis(1), &[preprocessed.view(), column(&truth).view()]).unwrap();
            folder.write("test", &all);
        }
        let Judgement::Scores { scores, .. } = model.judge(preprocessed.view()) else { unreachable!() };
        let ranking = Ranking::new(scores.into_iter().zip(truth.iter().map(|class| *class == 1))).unwrap();
        ours.insert(kind.name(), ranking.auroc());
    }
    let theirs = folder.ask(&peers, &[json!({"what": "detectors", "train": "train", "test": "test"})]);
    for (name, auroc) in ours {
        eprintln!("{name}: AUROC {auroc:.4}, scikit-learn {}", theirs["detectors"][name]);
        near(auroc, &theirs["detectors"][name], 0.03, name);
    }
}

/// The folder of NSL-KDD, which may be missing.
const NSL_KDD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/flows/nsl_kdd");

#[test]
fn the_figures_of_nsl_kdd_are_reached_again() {
    let Some(peers) = require_peers() else { return };
    let folder = Path::new(NSL_KDD);
    if !folder.is_dir() {
        eprintln!("NSL-KDD is not there: 0 rows compared");
        return;
    }
    let roles = Roles { label: Some("42".to_owned()), ignored: vec!["43".to_owned()] };
    let read = |name: &str| {
        let table = TableReader::open_with(&folder.join(name), HeaderRow::Absent).unwrap();
        roles.read(vec![table], |_| ()).unwrap()
    };
    let (train, test) = (read("KDDTrain+_20Percent.txt"), read("KDDTest+.txt"));
    eprintln!("NSL-KDD: {} rows learnt from, {} judged", train.frame.rows(), test.frame.rows());
    let kinds = [ClassifierKind::NaiveBayes, ClassifierKind::DecisionTree];
    let (ours, theirs) = accuracies(&peers, "nsl-kdd", &train, &test, Some("normal"), &kinds);
    for (name, bound) in [("naive-bayes", 1e-3), ("decision-tree", 2e-2)] {
        eprintln!("{name}: {:.4}, scikit-learn {}", ours[name], theirs[name]);
        near(ours[name], &theirs[name], bound, name);
    }
    for (all_rows, least) in [(false, 0.97), (true, 0.90)] {
        let plan = Plan { all_rows, ..plan(Task::Detect(DetectorKind::Kmeans), Some("normal")) };
        let (model, _) = TableModel::train(&train, plan).unwrap();
        let (rows, _) = model.preprocess(&test.frame).unwrap();
        let Judgement::Scores { scores, .. } = model.judge(rows.view()) else { unreachable!() };
        let attacks = test.labels.as_ref().unwrap().iter().map(|label| **label != *"normal");
        let auroc = Ranking::new(scores.into_iter().zip(attacks)).unwrap().auroc();
        eprintln!("kmeans, learnt from {}: AUROC {auroc:.4}", if all_rows { "all rows" } else { "benign rows" });
        assert!(auroc >= least, "{auroc} < {least}");
    }
}
