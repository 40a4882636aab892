//! `flowml eval`: how good detectors and classifiers are on labelled tables.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array2, Axis};

use super::figures::{ClassifierFigures, ClusterFigures, DetectorFigures, FPRS, LabelFigures, Report};
use super::inputs::{Inputs, check_output};
use super::moments::moments;
use super::pictures;
use super::progress::Step;
use super::train::learn;
use crate::cli::Eval;
use crate::dataset::truth;
use crate::model::folds::folds;
use crate::model::frame::Values;
use crate::model::metrics::{ClassFigures, Confusion, Moment, Ranking, Watch, davies_bouldin, silhouette};
use crate::model::trained::{Judgement, Labelled, Plan, TableModel, Task};
use crate::page;

/// Rows on which clusters are judged: the silhouette is quadratic.
const CLUSTER_ROWS: usize = 2000;

/// Judges, and tells.
///
/// # Errors
/// If tables or model cannot be read, or there is nothing to judge.
pub fn run(arguments: &Eval) -> Result<()> {
    let outputs = [&arguments.report, &arguments.output];
    outputs.into_iter().flatten().try_for_each(|output| check_output(output, &arguments.inputs))?;
    let step = Step::begin(!arguments.quiet);
    let mut inputs = Inputs::new(arguments.table.input, arguments.table.labels.as_deref(), &step)?;
    let table = inputs.read(&arguments.inputs, &arguments.table.roles())?;
    ensure!(table.frame.rows() > 0, "the inputs have no rows");
    let judged = Judged::new(table);
    let report = match &arguments.model {
        Some(path) => by_model(&TableModel::load(path)?, &judged, arguments)?,
        None => by_learning(&judged, arguments, &mut inputs, &step)?,
    };
    drop(step);
    if !arguments.quiet {
        eprint!("{}", report.text());
    }
    if let Some(path) = &arguments.report {
        let page = pictures::page(&report, &arguments.inputs);
        page::write(&page, path).with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    arguments.output.as_deref().map_or(Ok(()), |path| write(&report, path))
}

fn write(report: &Report, path: &Path) -> Result<()> {
    let json = serde_json::to_string(report)? + "\n";
    let written = match path.to_str() {
        Some("-") => io::stdout().write_all(json.as_bytes()),
        _ => fs::write(path, json),
    };
    written.with_context(|| format!("cannot write the figures to {}", path.display()))
}

fn by_model(model: &TableModel, judged: &Judged, arguments: &Eval) -> Result<Report> {
    // What is benign here may have another name than where the model learnt.
    let benign = arguments.learning.benign.as_ref().or(model.plan().benign.as_ref());
    let plan = Plan { benign: benign.cloned(), ..model.plan().clone() };
    let mut report = Report::default();
    match plan.task {
        Task::Detect(_) => report.detectors.push(detector_figures(model, judged, &plan)?),
        Task::Classify(_) => {
            let confusion = confusion(model, &judged.table, &plan)?;
            report.classifiers.push(ClassifierFigures::of(plan.task.name(), confusion, Vec::new()));
        }
    }
    Ok(report)
}

/// What is learnt from, and which rows of the inputs are judged by that; all of them where none are named.
struct Round {
    train: Labelled,
    test: Option<Vec<usize>>,
}

impl Round {
    fn judged<'a>(&self, inputs: &'a Judged) -> Cow<'a, Judged> {
        match &self.test {
            None => Cow::Borrowed(inputs),
            Some(rows) => Cow::Owned(inputs.select(rows)),
        }
    }
}

/// Rows that are judged, with their times where they have some.
#[derive(Clone)]
struct Judged {
    table: Labelled,
    moments: Option<Vec<Moment>>,
}

impl Judged {
    fn new(table: Labelled) -> Self {
        Self { moments: moments(&table), table }
    }

    fn select(&self, rows: &[usize]) -> Self {
        let moments = self.moments.as_ref().map(|moments| rows.iter().map(|&row| moments[row]).collect());
        Self { table: self.table.select(rows), moments }
    }
}

fn by_learning(judged: &Judged, arguments: &Eval, inputs: &mut Inputs<'_>, step: &Step) -> Result<Report> {
    let given = match arguments.train.as_slice() {
        [] => None,
        paths => Some(inputs.read(paths, &arguments.table.roles())?),
    };
    let mut report = Report::default();
    for task in arguments.tasks() {
        let plan = arguments.learning.plan(task);
        let rounds = rounds(&judged.table, given.as_ref(), &plan, arguments)?;
        judge(&rounds, judged, &plan, step, &mut report)?;
    }
    Ok(report)
}

/// The rounds of a task: one where a table to learn from is given, or all rows are learnt and judged; else one for each
/// fold. A round without rows of its own to judge judges the inputs.
fn rounds(table: &Labelled, given: Option<&Labelled>, plan: &Plan, arguments: &Eval) -> Result<Vec<Round>> {
    if let Some(train) = given {
        return Ok(vec![Round { train: train.clone(), test: None }]);
    }
    if plan.all_rows && matches!(plan.task, Task::Detect(_)) {
        return Ok(vec![Round { train: table.clone(), test: None }]);
    }
    let labels = table.labels.as_deref().context("expected labels")?;
    let divided = folds(labels, &table.inputs, arguments.folds.into(), arguments.division.into(), plan.seed);
    ensure!(divided.iter().all(|fold| !fold.test.is_empty()), "{} rows are too few to be divided", labels.len());
    let round =
        |fold: &crate::model::folds::Fold| Round { train: table.select(&fold.train), test: Some(fold.test.clone()) };
    Ok(divided.iter().map(round).collect())
}

fn judge(rounds: &[Round], inputs: &Judged, plan: &Plan, step: &Step, report: &mut Report) -> Result<()> {
    match plan.task {
        Task::Detect(_) => {
            let figures = |round: &Round| {
                let (model, _) = learn(&round.train, plan.clone(), step)?;
                step.show(format!("judging: {}", plan.task.name()));
                detector_figures(&model, &round.judged(inputs), plan)
            };
            let folds = rounds.iter().map(figures).collect::<Result<Vec<_>>>()?;
            report.detectors.extend(DetectorFigures::of_folds(&folds));
        }
        Task::Classify(_) => {
            let mut whole = Confusion::new(known_classes(rounds, &inputs.table, plan));
            let mut accuracies = Vec::new();
            for round in rounds {
                let (model, _) = learn(&round.train, plan.clone(), step)?;
                step.show(format!("judging: {}", plan.task.name()));
                let own = confusion(&model, &round.judged(inputs).table, plan)?;
                accuracies.push(own.accuracy());
                merge(&mut whole, &own);
            }
            let folds = if rounds.len() > 1 { accuracies } else { Vec::new() };
            report.classifiers.push(ClassifierFigures::of(plan.task.name(), whole, folds));
        }
    }
    Ok(())
}

/// The classes of all labels that are learnt or judged.
fn known_classes(rounds: &[Round], table: &Labelled, plan: &Plan) -> Vec<String> {
    let tables = rounds.iter().map(|round| &round.train).chain([table]);
    classes(tables.flat_map(|table| table.labels.iter().flatten()).map(|label| plan.class(label)))
}

fn classes<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: std::collections::BTreeSet<&str> = names.collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Adds counts by the names of their classes, all of which are known.
fn merge(whole: &mut Confusion, part: &Confusion) {
    let place =
        |name: &String| whole.classes.iter().position(|class| class == name).expect("the whole has all classes");
    let places: Vec<usize> = part.classes.iter().map(place).collect();
    for (truth, counts) in places.iter().zip(&part.rows) {
        for (predicted, count) in places.iter().zip(counts) {
            whole.rows[*truth][*predicted] += count;
        }
    }
}

fn prepare(model: &TableModel, table: &Labelled) -> Result<Array2<f64>> {
    Ok(model.prepare(&table.frame).context("the table does not fit the model")?.0)
}

/// What a classifier takes the rows of a table for.
fn confusion(model: &TableModel, table: &Labelled, plan: &Plan) -> Result<Confusion> {
    let labels = table.labels.as_deref().context("expected labels")?;
    let Judgement::Classes(predicted) = model.judge(prepare(model, table)?.view()) else {
        bail!("expected a classifier");
    };
    let known = model.classes().iter().map(String::as_str);
    let mut confusion = Confusion::new(classes(labels.iter().map(|label| plan.class(label)).chain(known)));
    let number: BTreeMap<String, usize> = confusion.classes.iter().cloned().zip(0..).collect();
    for (label, class) in labels.iter().zip(predicted) {
        confusion.count(number[plan.class(label)], number[&model.classes()[class]]);
    }
    Ok(confusion)
}

/// How a detector judges a table.
fn detector_figures(model: &TableModel, judged: &Judged, plan: &Plan) -> Result<DetectorFigures> {
    let Judged { table, moments } = judged;
    let labels = table.labels.as_deref().context("expected labels")?;
    let benign = plan.benign.as_deref().context("expected '--benign' with the label of benign rows")?;
    let rows = prepare(model, table)?;
    let Judgement::Scores { scores, probabilities, clusters } = model.judge(rows.view()) else {
        bail!("expected a detector");
    };
    let is_attack = |label: &Arc<str>| **label != *benign;
    let ranking = Ranking::new(scores.iter().copied().zip(labels.iter().map(is_attack)))
        .with_context(|| format!("expected rows with the label '{benign}' and others to judge"))?;
    let mut confusion = Confusion::new(vec!["ordinary".to_owned(), "anomaly".to_owned()]);
    for (label, probability) in labels.iter().zip(&probabilities) {
        confusion.count(usize::from(is_attack(label)), usize::from(*probability < plan.alpha));
    }
    let fpr = |text: &'static str| (text, ranking.tpr_at_fpr(text.parse().expect("the table has numbers")));
    let mut figures = DetectorFigures {
        name: plan.task.name(),
        rows: labels.len(),
        attacks: labels.iter().filter(|label| is_attack(label)).count(),
        auroc: ranking.auroc(),
        average_precision: ranking.average_precision(),
        tpr_at_fpr: FPRS.map(fpr).into(),
        alpha: plan.alpha,
        accuracy: 0.0,
        at_alpha: ClassFigures { precision: 0.0, recall: 0.0, f1: 0.0, rows: 0 },
        false_positive_rate: 0.0,
        confusion,
        classes: label_figures(&scores, labels, benign),
        clusters: clusters.map(|members| cluster_figures(&rows, &members)),
        folds: Vec::new(),
        roc: ranking.roc(),
        precision_recall: ranking.precision_recall(),
        false_alarms_per_hour: None,
        watch: moments.as_ref().map(|moments| {
            let alarms = probabilities.iter().map(|probability| *probability < plan.alpha);
            watch(table, moments, benign, alarms)
        }),
    };
    figures.read_confusion();
    figures.read_watch();
    Ok(figures)
}

/// When the attacks among the rows were found, and how long nothing else happened.
fn watch(table: &Labelled, moments: &[Moment], benign: &str, alarms: impl Iterator<Item = bool>) -> Watch {
    let rules = match table.frame.column(truth::RULE).map(|column| &column.values) {
        Some(Values::Numbers(rules)) => Some(rules),
        _ => None,
    };
    let mut watch = Watch::default();
    for (row, (label, alarm)) in table.labels.iter().flatten().zip(alarms).enumerate() {
        let rule = rules.map(|rules| rules[row]).filter(|rule| rule.is_finite()).map(|rule| rule as u32);
        watch.add(table.inputs[row], moments[row], (**label != *benign).then_some((label, rule)), alarm);
    }
    watch
}

/// Each label against the benign rows.
fn label_figures(scores: &[f64], labels: &[Arc<str>], benign: &str) -> BTreeMap<String, LabelFigures> {
    let mut by_label: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    scores.iter().zip(labels).for_each(|(score, label)| by_label.entry(label).or_default().push(*score));
    let ordinary = by_label.remove(benign).unwrap_or_default();
    let figures = |(label, own): (&str, Vec<f64>)| {
        let attacks = own.iter().map(|score| (*score, true));
        let ranking = Ranking::new(attacks.chain(ordinary.iter().map(|score| (*score, false))))?;
        Some((label.to_owned(), LabelFigures { auroc: ranking.auroc(), rows: own.len(), found: None }))
    };
    by_label.into_iter().filter_map(figures).collect()
}

fn cluster_figures(rows: &Array2<f64>, members: &[usize]) -> ClusterFigures {
    let mut sizes = vec![0; members.iter().max().map_or(0, |most| most + 1)];
    members.iter().for_each(|member| sizes[*member] += 1);
    sizes.retain(|size| *size > 0);
    sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
    // Every so manieth row, so that the sample has all times of the table.
    let chosen: Vec<usize> = (0..rows.nrows()).step_by(rows.nrows().div_ceil(CLUSTER_ROWS).max(1)).collect();
    let sample = rows.select(Axis(0), &chosen);
    let own: Vec<usize> = chosen.iter().map(|&row| members[row]).collect();
    ClusterFigures {
        sizes,
        silhouette: silhouette(sample.view(), &own),
        davies_bouldin: davies_bouldin(rows.view(), members),
    }
}
