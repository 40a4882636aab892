//! The results of `flowml eval`, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flowml_user::learning::metrics::{ClassFigures, Confusion, Curve, Found, Watch};
use flowml_user::process::plain;
use serde::Serialize;

/// The false-positive rates for which the true-positive rate is reported, and the probability levels for benign rows.
pub(crate) const FPRS: [&str; 2] = ["0.01", "0.001"];

/// All results.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Empty if all rows are benign.
    pub(crate) detectors: Vec<DetectorFigures>,
    /// The figures of each detector on the benign rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) benign: Vec<BenignFigures>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) classifiers: Vec<ClassifierFigures>,
}

/// Figures of a detector on benign rows: the calibration of its probabilities.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BenignFigures {
    pub(crate) name: &'static str,
    /// Number of benign rows.
    pub(crate) rows: usize,
    /// The share of them with a probability below each level. Ideally the share equals the level.
    pub(crate) p_below: BTreeMap<&'static str, f64>,
    /// Number of incidents of a model of traffic, whatever the label of their rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incidents: Option<usize>,
}

impl BenignFigures {
    /// The combined figures of several folds. None without folds.
    fn of_folds<'a>(mut folds: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let rows: usize = folds.clone().map(|fold| fold.rows).sum();
        let share = |level: &'static str| {
            let anomalies: f64 = folds.clone().map(|fold| fold.p_below[level] * fold.rows as f64).sum();
            (level, anomalies / rows as f64)
        };
        let p_below = FPRS.map(share).into();
        folds.next().map(|first| Self { name: first.name, rows, p_below, incidents: first.incidents })
    }
}

/// The figures of one round: of the benign rows, and of the detection of attacks if there are any.
pub(crate) type Row = (BenignFigures, Option<DetectorFigures>);

/// The figures of a detector.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DetectorFigures {
    pub(crate) name: &'static str,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Number of rows that are not benign.
    pub(crate) attacks: usize,
    pub(crate) auroc: f64,
    pub(crate) average_precision: f64,
    pub(crate) tpr_at_fpr: BTreeMap<&'static str, f64>,
    /// Rows with a smaller probability are anomalies.
    pub(crate) alpha: f64,
    pub(crate) accuracy: f64,
    #[serde(flatten)]
    pub(crate) at_alpha: ClassFigures,
    /// The share of benign rows that are anomalies.
    pub(crate) false_positive_rate: f64,
    pub(crate) confusion: Confusion,
    /// The figures of each label, against the benign rows.
    pub(crate) classes: BTreeMap<String, LabelFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) clusters: Option<ClusterFigures>,
    /// The AUROC of each fold. The other figures are means over the folds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) folds: Vec<f64>,
    pub(crate) roc: Curve,
    pub(crate) precision_recall: Curve,
    /// Only for rows with times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) false_alarms_per_hour: Option<f64>,
    /// The data from which this is computed.
    #[serde(skip)]
    pub(crate) watch: Option<Watch>,
}

/// The separation of one label from the benign rows.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LabelFigures {
    pub(crate) auroc: f64,
    pub(crate) rows: usize,
    /// Only for rows with times.
    #[serde(flatten)]
    pub(crate) found: Option<Found>,
}

/// The quality of a detector's clusters.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClusterFigures {
    /// Number of rows in each cluster.
    pub(crate) sizes: Vec<usize>,
    /// Computed on a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) silhouette: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) davies_bouldin: Option<f64>,
}

/// The figures of a classifier. Precision, recall and F1 are means over the classes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClassifierFigures {
    pub(crate) name: &'static str,
    pub(crate) rows: usize,
    pub(crate) accuracy: f64,
    pub(crate) precision: f64,
    pub(crate) recall: f64,
    pub(crate) f1: f64,
    pub(crate) classes: BTreeMap<String, ClassFigures>,
    pub(crate) confusion: Confusion,
    /// The accuracy of each fold. The other figures are of all folds together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) folds: Vec<f64>,
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

fn add(sum: &mut Confusion, other: &Confusion) {
    for (own, theirs) in sum.rows.iter_mut().flatten().zip(other.rows.iter().flatten()) {
        *own += theirs;
    }
}

impl DetectorFigures {
    /// The combined figures of several folds. None without folds.
    pub(crate) fn of_folds(folds: &[Self]) -> Option<Self> {
        let mut whole = folds.first()?.clone();
        if folds.len() < 2 {
            return Some(whole);
        }
        let mean_of = |of: fn(&Self) -> f64| mean(folds.iter().map(of));
        whole.auroc = mean_of(|fold| fold.auroc);
        whole.average_precision = mean_of(|fold| fold.average_precision);
        whole.rows = folds.iter().map(|fold| fold.rows).sum();
        whole.attacks = folds.iter().map(|fold| fold.attacks).sum();
        whole.tpr_at_fpr = FPRS.map(|fpr| (fpr, mean(folds.iter().map(|fold| fold.tpr_at_fpr[fpr])))).into();
        folds[1..].iter().for_each(|fold| add(&mut whole.confusion, &fold.confusion));
        whole.read_confusion();
        let mut by_label: BTreeMap<String, Vec<LabelFigures>> = BTreeMap::new();
        for (label, figures) in folds.iter().flat_map(|fold| &fold.classes) {
            by_label.entry(label.clone()).or_default().push(*figures);
        }
        let joined = |figures: Vec<LabelFigures>| LabelFigures {
            auroc: mean(figures.iter().map(|figures| figures.auroc)),
            rows: figures.iter().map(|figures| figures.rows).sum(),
            found: None,
        };
        whole.classes = by_label.into_iter().map(|(label, figures)| (label, joined(figures))).collect();
        whole.folds = folds.iter().map(|fold| fold.auroc).collect();
        // Scores of models with different training data have no common threshold, so the rates are averaged.
        whole.roc = Curve::mean_roc(&folds.iter().map(|fold| &fold.roc).collect::<Vec<_>>());
        let precision_recall: Vec<&Curve> = folds.iter().map(|fold| &fold.precision_recall).collect();
        whole.precision_recall = Curve::mean_precision_recall(&precision_recall);
        whole.clusters = None;
        if let Some(watch) = &mut whole.watch {
            folds[1..].iter().filter_map(|fold| fold.watch.as_ref()).for_each(|other| watch.merge(other));
        }
        whole.read_watch();
        Some(whole)
    }

    /// Sets the figures that depend on the times of rows.
    pub(crate) fn read_watch(&mut self) {
        let Some(watch) = &self.watch else { return };
        self.false_alarms_per_hour = watch.false_alarms_per_hour();
        for (label, found) in watch.found() {
            if let Some(figures) = self.classes.get_mut(&label) {
                figures.found = Some(found);
            }
        }
    }

    /// Sets the figures that depend on the confusion matrix. Its second class is that of the anomalies.
    pub(crate) fn read_confusion(&mut self) {
        self.accuracy = self.confusion.accuracy();
        self.at_alpha = self.confusion.figures(1);
        self.false_positive_rate = 1.0 - self.confusion.figures(0).recall;
    }
}

impl ClassifierFigures {
    /// The figures of a confusion matrix.
    pub(crate) fn of(name: &'static str, confusion: Confusion, folds: Vec<f64>) -> Self {
        let all = confusion.macro_figures();
        let figures = |class: usize| (confusion.classes[class].clone(), confusion.figures(class));
        Self {
            name,
            rows: all.rows as usize,
            accuracy: confusion.accuracy(),
            precision: all.precision,
            recall: all.recall,
            f1: all.f1,
            classes: (0..confusion.classes.len()).map(figures).collect(),
            confusion,
            folds,
        }
    }
}

/// Maximum number of labels and classes that are listed.
pub(crate) const SHOWN_LABELS: usize = 40;

impl Report {
    /// Adds a detector, given the figures of its folds.
    pub(crate) fn add_detector(&mut self, folds: &[Row]) {
        self.benign.extend(BenignFigures::of_folds(folds.iter().map(|(benign, _)| benign)));
        let figures: Vec<DetectorFigures> = folds.iter().filter_map(|(_, figures)| figures.clone()).collect();
        self.detectors.extend(DetectorFigures::of_folds(&figures));
    }

    /// The results as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("memory takes every text");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        if let Some(first) = self.detectors.first() {
            writeln!(text, "{} rows, {} of them attacks", first.rows, first.attacks)?;
            write!(text, "{:<18}{:>9}{:>9}", "detector", "AUROC", "AP")?;
            FPRS.iter().try_for_each(|fpr| write!(text, "{:>13}", format!("TPR@{fpr}")))?;
            writeln!(text, "{:>11}{:>9}{:>9}{:>9}", "precision", "recall", "F1", "FPR")?;
        }
        for detector in &self.detectors {
            let DetectorFigures { at_alpha, .. } = detector;
            write!(text, "{:<18}{:>9.4}{:>9.4}", detector.name, detector.auroc, detector.average_precision)?;
            FPRS.iter().try_for_each(|fpr| write!(text, "{:>13.4}", detector.tpr_at_fpr[fpr]))?;
            let ClassFigures { precision, recall, f1, .. } = at_alpha;
            writeln!(text, "{precision:>11.4}{recall:>9.4}{f1:>9.4}{:>9.4}", detector.false_positive_rate)?;
        }
        if let Some(first) = self.detectors.first() {
            writeln!(text, "precision, recall, F1 and FPR where p < {}", first.alpha)?;
            self.write_labels(text)?;
            self.write_detection(text)?;
            self.write_clusters(text)?;
            self.detectors.iter().try_for_each(|detector| write_folds(text, detector.name, &detector.folds))?;
        }
        self.write_benign(text)?;
        self.write_classifiers(text)
    }

    /// Writes the figures on benign rows.
    fn write_benign(&self, text: &mut String) -> std::fmt::Result {
        if self.benign.is_empty() {
            return Ok(());
        }
        let gap = if self.detectors.is_empty() { "" } else { "\n" };
        write!(text, "{gap}{:<18}{:>9}", "of benign rows", "rows")?;
        FPRS.iter().try_for_each(|level| write!(text, "{:>12}", format!("p < {level}")))?;
        let incidents = self.benign.iter().any(|benign| benign.incidents.is_some());
        writeln!(text, "{}", if incidents { "   incidents" } else { "" })?;
        for BenignFigures { name, rows, p_below, incidents } in &self.benign {
            write!(text, "{name:<18}{rows:>9}")?;
            FPRS.iter().try_for_each(|level| write!(text, "{:>12}", format!("{:.3} %", p_below[level] * 100.0)))?;
            writeln!(text, "{}", incidents.map_or_else(String::new, |incidents| format!("{incidents:>12}")))?;
        }
        Ok(())
    }

    /// Writes the AUROC of each label, with a column for each detector.
    fn write_labels(&self, text: &mut String) -> std::fmt::Result {
        let labels: BTreeMap<&String, usize> = self
            .detectors
            .iter()
            .flat_map(|detector| detector.classes.iter().map(|(label, figures)| (label, figures.rows)))
            .collect();
        if labels.len() < 2 {
            return Ok(());
        }
        write!(text, "\n{:<26}{:>8}", "AUROC of", "rows")?;
        self.detectors.iter().try_for_each(|detector| write!(text, "{:>18}", detector.name))?;
        writeln!(text)?;
        for (label, rows) in labels.iter().take(SHOWN_LABELS) {
            write!(text, "{:<26}{rows:>8}", plain::line(label))?;
            for detector in &self.detectors {
                match detector.classes.get(*label) {
                    Some(figures) => write!(text, "{:>18.4}", figures.auroc)?,
                    None => write!(text, "{:>18}", "")?,
                }
            }
            writeln!(text)?;
        }
        match labels.len().saturating_sub(SHOWN_LABELS) {
            0 => Ok(()),
            more => writeln!(text, "and {more} more labels"),
        }
    }

    /// Writes the time to detection of the attacks of each label, with a column for each detector, and the false
    /// alarms.
    fn write_detection(&self, text: &mut String) -> std::fmt::Result {
        let found: BTreeMap<&String, Found> = self
            .detectors
            .iter()
            .flat_map(|detector| detector.classes.iter().filter_map(|(label, figures)| Some((label, figures.found?))))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        write!(text, "\n{:<26}{:>8}", "seconds to detection of", "attacks")?;
        self.detectors.iter().try_for_each(|detector| write!(text, "{:>18}", detector.name))?;
        writeln!(text)?;
        for (label, Found { attacks, .. }) in found.iter().take(SHOWN_LABELS) {
            write!(text, "{:<26}{attacks:>8}", plain::line(label))?;
            for detector in &self.detectors {
                let found = detector.classes.get(*label).and_then(|figures| figures.found);
                write!(text, "{:>18}", found.map_or_else(String::new, |found| found_text(&found)))?;
            }
            writeln!(text)?;
        }
        write!(text, "{:<34}", "false alarms an hour")?;
        for detector in &self.detectors {
            let row = detector.false_alarms_per_hour.map_or_else(String::new, |rate| format!("{rate:.1}"));
            write!(text, "{row:>18}")?;
        }
        writeln!(text)
    }

    fn write_clusters(&self, text: &mut String) -> std::fmt::Result {
        for detector in &self.detectors {
            let Some(clusters) = &detector.clusters else { continue };
            let sizes: Vec<String> = clusters.sizes.iter().map(usize::to_string).collect();
            write!(text, "\n{}: {} clusters of {} rows", detector.name, sizes.len(), sizes.join(", "))?;
            if let (Some(silhouette), Some(index)) = (clusters.silhouette, clusters.davies_bouldin) {
                write!(text, "; silhouette {silhouette:.3}, Davies-Bouldin {index:.3}")?;
            }
            writeln!(text)?;
        }
        Ok(())
    }

    fn write_classifiers(&self, text: &mut String) -> std::fmt::Result {
        if let Some(first) = self.classifiers.first() {
            let gap = if self.detectors.is_empty() { "" } else { "\n" };
            writeln!(text, "{gap}{} rows, {} classes", first.rows, first.confusion.classes.len())?;
            writeln!(text, "{:<18}{:>9}{:>11}{:>9}{:>9}", "classifier", "accuracy", "precision", "recall", "F1")?;
        }
        for classifier in &self.classifiers {
            let ClassifierFigures { name, accuracy, precision, recall, f1, .. } = classifier;
            writeln!(text, "{name:<18}{accuracy:>9.4}{precision:>11.4}{recall:>9.4}{f1:>9.4}")?;
        }
        for classifier in &self.classifiers {
            write_folds(text, classifier.name, &classifier.folds)?;
            write_confusion(text, classifier)?;
        }
        Ok(())
    }
}

/// The median time to detection, and the number of attacks that were not detected.
pub(crate) fn found_text(found: &Found) -> String {
    match (found.time_to_detection_s, found.attacks_not_found) {
        (None, _) => "never".to_owned(),
        (Some(seconds), 0) => format!("{seconds:.1}"),
        (Some(seconds), missed) => format!("{seconds:.1}, {missed} never"),
    }
}

fn write_folds(text: &mut String, name: &str, folds: &[f64]) -> std::fmt::Result {
    if folds.is_empty() {
        return Ok(());
    }
    let row: Vec<String> = folds.iter().map(|fold| format!("{fold:.4}")).collect();
    writeln!(text, "{name}, {} folds: {}", folds.len(), row.join(" "))
}

/// Writes a confusion matrix: rows are labels, columns are predictions.
fn write_confusion(text: &mut String, classifier: &ClassifierFigures) -> std::fmt::Result {
    let Confusion { classes, rows } = &classifier.confusion;
    if classes.len() > 12 {
        return Ok(());
    }
    write!(text, "\n{:<18}", classifier.name)?;
    classes.iter().try_for_each(|class| write!(text, " {:>14}", plain::line(class)))?;
    writeln!(text)?;
    for (class, counts) in classes.iter().zip(rows) {
        write!(text, "{:<18}", plain::line(class))?;
        counts.iter().try_for_each(|count| write!(text, " {count:>14}"))?;
        writeln!(text)?;
    }
    Ok(())
}
