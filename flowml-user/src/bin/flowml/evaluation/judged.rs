//! Evaluates scores against the labels and times of the rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use flowml_user::dataset::truth;
use flowml_user::learning::batch::Labelled;
use flowml_user::learning::metrics::{ClassFigures, Confusion, Moment, Ranking, Watch, davies_bouldin, silhouette};
use flowml_user::learning::preprocess::Values;
use ndarray::{Array2, Axis};

use super::figures::{BenignFigures, ClusterFigures, DetectorFigures, FPRS, LabelFigures, Row};
use super::moments::moments;
use crate::inputs::no_label;

/// Number of rows used to evaluate clusters, as the silhouette needs quadratic time.
const CLUSTER_ROWS: usize = 2000;

/// Rows to evaluate, with their times if they have any.
#[derive(Clone)]
pub(crate) struct Judged {
    pub(crate) table: Labelled,
    moments: Option<Vec<Moment>>,
}

impl Judged {
    pub(crate) fn new(table: Labelled) -> Self {
        Self { moments: moments(&table), table }
    }

    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let moments = self.moments.as_ref().map(|moments| rows.iter().map(|&row| moments[row]).collect());
        Self { table: self.table.select(rows), moments }
    }

    /// Gives all rows this label if the table has no labels.
    pub(crate) fn labelled_or(mut self, label: &str) -> Self {
        let (label, rows) = (Arc::from(label), self.table.frame.rows());
        self.table.labels.get_or_insert_with(|| vec![label; rows]);
        self
    }

    /// The rows with a score in the table itself, with their scores and probabilities.
    pub(crate) fn by_verdicts(&self) -> Result<(Self, Vec<f64>, Vec<f64>)> {
        let numbers = |name: &str| match self.table.frame.column(name).map(|column| &column.values) {
            Some(Values::Numbers(numbers)) => Ok(numbers),
            _ => bail!("expected a column '{name}' of numbers"),
        };
        let (scores, probabilities) = (numbers("score")?, numbers("probability")?);
        let rows: Vec<usize> = (0..scores.len()).filter(|&row| scores[row].is_finite()).collect();
        let of = |numbers: &[f64]| rows.iter().map(|&row| numbers[row]).collect();
        Ok((self.select(&rows), of(scores), of(probabilities)))
    }

    fn labels(&self) -> Result<&[Arc<str>]> {
        self.table.labels.as_deref().context("expected labels")
    }

    /// Whether there are rows that are not benign.
    pub(crate) fn has_attacks(&self, benign: &str) -> bool {
        self.table.labels.iter().flatten().any(|label| **label != *benign)
    }
}

/// The result of a detector on rows.
pub(crate) struct Scored {
    /// Name of the detector.
    pub(crate) name: &'static str,
    /// Rows with a smaller probability are anomalies.
    pub(crate) alpha: f64,
    pub(crate) scores: Vec<f64>,
    pub(crate) probabilities: Vec<f64>,
    pub(crate) clusters: Option<ClusterFigures>,
}

impl Scored {
    /// Computes all figures.
    pub(crate) fn row(self, judged: &Judged, benign: &str, has_attacks: bool) -> Result<Row> {
        let of_benign = self.of_benign(judged, benign)?;
        Ok((of_benign, has_attacks.then(|| self.figures(judged, benign)).transpose()?))
    }

    /// The figures of the benign rows.
    fn of_benign(&self, judged: &Judged, benign: &str) -> Result<BenignFigures> {
        let labels = judged.labels()?;
        let rows = labels.iter().zip(&self.probabilities).filter(|(label, _)| ***label == *benign);
        let own: Vec<f64> = rows.map(|(_, probability)| *probability).collect();
        ensure!(!own.is_empty(), no_label(benign, labels));
        let share = |level: &'static str| {
            let level_number: f64 = level.parse().expect("the table has numbers");
            (level, own.iter().filter(|probability| **probability < level_number).count() as f64 / own.len() as f64)
        };
        Ok(BenignFigures { name: self.name, rows: own.len(), p_below: FPRS.map(share).into(), incidents: None })
    }

    /// The figures of the separation of attacks from benign rows.
    fn figures(self, judged: &Judged, benign: &str) -> Result<DetectorFigures> {
        let Self { name, alpha, scores, probabilities, clusters } = self;
        let labels = judged.labels()?;
        let is_attack = |label: &Arc<str>| **label != *benign;
        let ranking = Ranking::new(scores.iter().copied().zip(labels.iter().map(is_attack)))
            .with_context(|| format!("expected rows with the label '{benign}' and rows with other labels"))?;
        let mut confusion = Confusion::new(vec!["normal".to_owned(), "anomaly".to_owned()]);
        for (label, probability) in labels.iter().zip(&probabilities) {
            confusion.count(usize::from(is_attack(label)), usize::from(*probability < alpha));
        }
        let fpr = |text: &'static str| (text, ranking.tpr_at_fpr(text.parse().expect("the table has numbers")));
        let mut figures = DetectorFigures {
            name,
            rows: labels.len(),
            attacks: labels.iter().filter(|label| is_attack(label)).count(),
            auroc: ranking.auroc(),
            average_precision: ranking.average_precision(),
            tpr_at_fpr: FPRS.map(fpr).into(),
            alpha,
            accuracy: 0.0,
            at_alpha: ClassFigures { precision: 0.0, recall: 0.0, f1: 0.0, rows: 0 },
            false_positive_rate: 0.0,
            confusion,
            classes: label_figures(&scores, labels, benign),
            clusters,
            folds: Vec::new(),
            roc: ranking.roc(),
            precision_recall: ranking.precision_recall(),
            false_alarms_per_hour: None,
            watch: judged.moments.as_ref().map(|moments| {
                let alarms = probabilities.iter().map(|probability| *probability < alpha);
                watch(&judged.table, moments, benign, alarms)
            }),
        };
        figures.read_confusion();
        figures.read_watch();
        Ok(figures)
    }
}

/// The times to detection of the attacks, and the false alarms per hour.
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

/// The figures of each label against the benign rows.
fn label_figures(scores: &[f64], labels: &[Arc<str>], benign: &str) -> BTreeMap<String, LabelFigures> {
    let mut by_label: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    scores.iter().zip(labels).for_each(|(score, label)| by_label.entry(label).or_default().push(*score));
    let benign_scores = by_label.remove(benign).unwrap_or_default();
    let figures = |(label, own): (&str, Vec<f64>)| {
        let attacks = own.iter().map(|score| (*score, true));
        let ranking = Ranking::new(attacks.chain(benign_scores.iter().map(|score| (*score, false))))?;
        Some((label.to_owned(), LabelFigures { auroc: ranking.auroc(), rows: own.len(), found: None }))
    };
    by_label.into_iter().filter_map(figures).collect()
}

/// The quality of clusters, given the rows and the cluster of each.
pub(crate) fn cluster_figures(rows: &Array2<f64>, members: &[usize]) -> ClusterFigures {
    let mut sizes = vec![0; members.iter().max().map_or(0, |most| most + 1)];
    members.iter().for_each(|member| sizes[*member] += 1);
    sizes.retain(|size| *size > 0);
    sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
    // Every n-th row, so that the sample covers all times of the table.
    let chosen: Vec<usize> = (0..rows.nrows()).step_by(rows.nrows().div_ceil(CLUSTER_ROWS).max(1)).collect();
    let sample = rows.select(Axis(0), &chosen);
    let own: Vec<usize> = chosen.iter().map(|&row| members[row]).collect();
    ClusterFigures {
        sizes,
        silhouette: silhouette(sample.view(), &own),
        davies_bouldin: davies_bouldin(rows.view(), members),
    }
}
