//! Measures `flowml train` against scikit-learn's MiniBatchKMeans, and a score against a microsecond.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent;
use flowml_user::dataset::TableReader;
use flowml_user::dataset::columns::numbers_of;
use flowml_user::dataset::learnt::Roles;
use flowml_user::features::{FLOW_FEATURES, Feature, HOST_FEATURES, columns, names};
use flowml_user::learning::batch::{Labelled, Plan, TableModel, Task};
use flowml_user::learning::detect::DetectorKind;
use flowml_user::learning::{Learner, Settings};
use ndarray::{Array2, s};
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256Plus;

use crate::child::run;
use crate::cpu_time::cpu_time;
use crate::effort::Effort;
use crate::ratio::{Ratio, median};
use crate::watching;

/// The size of a measurement.
#[derive(Clone, Copy)]
struct Rounds {
    /// Rows of each round: of the training table, or of a scored batch.
    rows: usize,
    count: usize,
}

/// CPU times, one for each round.
pub(crate) struct Costs {
    training: Rounds,
    scoring: Rounds,
    /// Preprocessing, k-means and calibration, in s.
    train: Vec<f64>,
    /// scikit-learn's fit alone, in s.
    minibatch: Vec<f64>,
    /// A score of a flow, with everything that belongs to it, in µs.
    score: Vec<f64>,
    /// A score of a flow without training, in µs.
    judge: Vec<f64>,
    /// A score of a host window, with everything that belongs to it, in µs.
    window: Vec<f64>,
    /// The work before the score.
    watching: watching::Costs,
}

pub(crate) fn measure(flows: &Path, effort: Effort) -> Result<Costs> {
    let training = effort.pick(Rounds { rows: 1_000_000, count: 3 }, Rounds { rows: 5_000, count: 1 });
    let scoring = effort.pick(Rounds { rows: 4096, count: 21 }, Rounds { rows: 128, count: 1 });
    let table = table(training.rows)?;
    let folder = tempfile::tempdir().context("making a folder")?;
    let mut command = Command::new(agent::binary()?);
    command.arg("read").arg(flows).args(["--quiet", "-o"]).arg(format!("parquet={}", folder.path().display()));
    run(&mut command)?;
    let [(score, judge), (window, _)] = [
        scores(&features(&folder.path().join("flows.parquet"), FLOW_FEATURES)?, FLOW_FEATURES, scoring)?,
        scores(&features(&folder.path().join("hosts.parquet"), HOST_FEATURES)?, HOST_FEATURES, scoring)?,
    ];
    let watching = watching::measure(flows, effort)?;
    let mut costs = Costs { training, scoring, train: vec![], minibatch: vec![], score, judge, window, watching };
    let rows = Roles::default().read(vec![TableReader::open(&table)?], |_| ())?;
    for _ in 0..training.count {
        costs.train.push(train(&rows)?);
        costs.minibatch.push(minibatch(&table)?);
    }
    Ok(costs)
}

/// Columns and clusters of the training table.
const COLUMNS: usize = 20;
const CLUSTERS: usize = 12;

/// Makes a Parquet table of twelve clusters in twenty dimensions.
fn table(rows: usize) -> Result<PathBuf> {
    let path = agent::target().join(format!("bench/clouds-{rows}.parquet"));
    if path.exists() {
        return Ok(path);
    }
    let mut random = Xoshiro256Plus::seed_from_u64(1);
    let centers = Array2::from_shape_fn((CLUSTERS, COLUMNS), |_| 4.0 * random.sample::<f64, _>(StandardNormal));
    let rows = Array2::from_shape_fn((rows, COLUMNS), |(row, column)| {
        centers[[row * 7 % CLUSTERS, column]] + random.sample::<f64, _>(StandardNormal)
    });
    write(&rows, &path)?;
    Ok(path)
}

fn write(rows: &Array2<f64>, path: &Path) -> Result<()> {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch};
    use flowml_user::dataset::{TableFormat, TableWriter};

    let column = |(number, values): (usize, ndarray::ArrayView1<'_, f64>)| {
        (format!("x{number}"), Arc::new(values.iter().copied().collect::<Float64Array>()) as ArrayRef)
    };
    let batch = RecordBatch::try_from_iter(rows.columns().into_iter().enumerate().map(column))?;
    let mut writer = TableWriter::open(path, TableFormat::Parquet, &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    Ok(())
}

/// Trains from the rows of a table to a calibrated model, with all rows in memory as for scikit-learn. Returns the time
/// in s.
fn train(table: &Labelled) -> Result<f64> {
    let plan = Plan {
        task: Task::Detect(DetectorKind::Kmeans),
        scaling: None,
        selection: None,
        k: Some(CLUSTERS),
        seed: 0,
        alpha: 0.01,
        benign: None,
        all_rows: true,
    };
    let begun = cpu_time();
    TableModel::train(table, plan)?;
    Ok((cpu_time() - begun).as_secs_f64())
}

fn minibatch(table: &Path) -> Result<f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/minibatch_kmeans.py");
    let mut command = Command::new(agent::target().join("peers/bin/python"));
    let (text, _) = run(command.arg(script).arg(table).arg(CLUSTERS.to_string()))?;
    text.trim().parse().with_context(|| format!("MiniBatchKMeans reports no time: {text}"))
}

/// Times for each row in µs. First: scaling, the nearest cluster, the probability, the reasons of anomalies, and the
/// update of the model. Second: the same without the update.
fn scores<T>(rows: &Array2<f64>, of: &[Feature<T>], scoring: Rounds) -> Result<(Vec<f64>, Vec<f64>)> {
    let Rounds { rows: size, count } = scoring;
    ensure!(rows.nrows() >= 2 * size, "there are {} rows, too few", rows.nrows());
    let mut learner =
        Learner::new(columns(of), Settings { warm_up_batches: 1, warm_up_rows: size, ..Settings::default() });
    let batch = |number: usize| {
        let begin = number * size % (rows.nrows() - size);
        rows.slice(s![begin..begin + size, ..])
    };
    learner.observe(batch(0));
    let (mut observed, mut judged) = (Vec::new(), Vec::new());
    for number in 1..=count {
        let begun = cpu_time();
        let verdicts = learner.judge(batch(number));
        judged.push(micros(begun, size));
        ensure!(verdicts.iter().all(Option::is_some), "the learner is not ready");
        let begun = cpu_time();
        let verdicts = learner.observe(batch(number));
        observed.push(micros(begun, size));
        ensure!(verdicts.iter().all(Option::is_some), "the learner is not ready");
    }
    Ok((observed, judged))
}

/// CPU time for each row of a batch of this size since `begun`, in µs.
fn micros(begun: Duration, size: usize) -> f64 {
    (cpu_time() - begun).as_secs_f64() * 1e6 / size as f64
}

/// Reads the features of the rows of a table.
fn features<T>(table: &Path, of: &[Feature<T>]) -> Result<Array2<f64>> {
    let mut values = Vec::new();
    for batch in TableReader::open(table)? {
        let batch = batch?;
        let columns = names(of).map(|name| numbers_of(&batch, name)).collect::<Result<Vec<_>, _>>()?;
        values.extend((0..batch.num_rows()).flat_map(|row| columns.iter().map(move |column| column[row])));
    }
    Ok(Array2::from_shape_vec((values.len() / of.len(), of.len()), values)?)
}

impl Costs {
    /// The ratios and their goals. Goals of times are in µs; 0.5 µs for a flow are two million flows per second.
    pub(crate) fn ratios(&self) -> [Ratio; 5] {
        let trained = self.train.iter().zip(&self.minibatch).map(|(ours, theirs)| ours / theirs);
        let rows = [
            ("train_time_by_minibatchkmeans", 0.8, trained.collect()),
            ("score_time_by_1_us", 1.0, self.score.clone()),
            ("judge_time_by_1_us", 0.5, self.judge.clone()),
            ("flow_time_by_1_us", 1.5, self.flow().collect()),
            ("host_window_time_by_1_us", 2.0, self.host_window().collect()),
        ];
        rows.map(|(name, goal, rounds)| Ratio { name: name.to_owned(), goal: Some(goal), rounds })
    }

    /// The cost of a flow, in µs: score, tests and slow view together.
    fn flow(&self) -> impl Iterator<Item = f64> {
        let score = median(&self.score);
        let watching::Costs { tests, views, .. } = &self.watching;
        tests.iter().zip(views).map(move |(tests, views)| score + tests + views)
    }

    /// The cost of a host window with its score, in µs.
    fn host_window(&self) -> impl Iterator<Item = f64> {
        let score = median(&self.window);
        self.watching.hosts.iter().map(move |hosts| score + hosts)
    }

    pub(crate) fn print(&self) {
        let Rounds { rows, count } = self.training;
        println!("Training on {rows} rows of {COLUMNS} columns, CPU s, medians of {count} rounds");
        println!("{:<60} {:>7.2}", "flowml: preprocessing, k-means, calibration", median(&self.train));
        println!("{:<60} {:>7.2}", "scikit-learn's MiniBatchKMeans, fit only", median(&self.minibatch));
        let Rounds { rows, count } = self.scoring;
        println!("Scoring a flow and training on it, CPU µs, median of {count} batches of {rows}");
        println!("{:<60} {:>7.2}", "k-means of a run, a flow", median(&self.score));
        println!("{:<60} {:>7.2}", "the same without training", median(&self.judge));
        println!("{:<60} {:>7.2}", "k-means of a run, a host window", median(&self.window));
        let watching::Costs { flows, windows, tests, views, hosts } = &self.watching;
        println!("Before the score, CPU µs, of {flows} flows and {windows} host windows");
        println!("{:<60} {:>7.2}", "sequential tests, a flow", median(tests));
        println!("{:<60} {:>7.2}", "columns of a flow from host windows and slow view", median(views));
        println!("{:<60} {:>7.2}\n", "host windows and slow view, a host window", median(hosts));
    }
}
