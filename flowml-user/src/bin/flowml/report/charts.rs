//! Makes an HTML report with charts from the results of `flowml eval`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use flowml_user::learning::metrics::Watch;
use maud::{Markup, html};

use super::page::{Colour, PageColumn, PageTable, confusion, curves, document, figure, section, tile, tiles};
use crate::evaluation::figures::{
    BenignFigures, ClassifierFigures, DetectorFigures, FPRS, Report, SHOWN_LABELS, found_text,
};
use crate::ui::text::grouped;

/// A confusion matrix is shown up to this number of classes.
const MATRIX_CLASSES: usize = 24;

/// The report as HTML.
pub(crate) fn page(report: &Report, inputs: &[PathBuf]) -> String {
    let names: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
    let body = html! {
        (numbers(report))
        @if !report.detectors.is_empty() {
            (section("Detectors", &detectors(&report.detectors)))
            (section("By attack", &labels(&report.detectors)))
        }
        @if !report.benign.is_empty() { (section("Benign rows", &benign(&report.benign))) }
        @if report.detectors.iter().any(|detector| detector.clusters.is_some()) {
            (section("Clusters", &clusters(&report.detectors)))
        }
        @if !report.classifiers.is_empty() { (section("Classifiers", &classifiers(&report.classifiers))) }
    };
    document("Evaluation", &format!("Detectors and classifiers on {}", names.join(", ")), &body)
}

fn numbers(report: &Report) -> Markup {
    let mut all = Vec::new();
    if let Some(first) = report.detectors.first() {
        let share = 100.0 * first.attacks as f64 / first.rows.max(1) as f64;
        all.push(tile("rows", &grouped(first.rows as u64), ""));
        all.push(tile("of attacks", &grouped(first.attacks as u64), &format!("{share:.1} % of the rows")));
        all.push(tile("kinds of attacks", &grouped(first.classes.len() as u64), ""));
    }
    if let Some(best) = report.detectors.iter().max_by(|a, b| a.auroc.total_cmp(&b.auroc)) {
        all.push(tile("best AUROC", &format!("{:.4}", best.auroc), best.name));
    }
    if let Some(best) = report.classifiers.iter().max_by(|a, b| a.accuracy.total_cmp(&b.accuracy)) {
        all.push(tile("best accuracy", &format!("{:.4}", best.accuracy), best.name));
    }
    tiles(&all)
}

fn ratio(value: f64) -> Markup {
    html! { (format!("{value:.4}")) }
}

fn detectors(detectors: &[DetectorFigures]) -> Markup {
    let coloured = || detectors.iter().enumerate().map(|(number, detector)| (Colour::of(number), detector));
    let roc: Vec<_> = coloured().map(|(colour, detector)| (colour, &detector.roc)).collect();
    let precision: Vec<_> = coloured().map(|(colour, detector)| (colour, &detector.precision_recall)).collect();
    let legend = |of: fn(&DetectorFigures) -> f64| {
        coloured().map(|(colour, own)| (colour, format!("{} {:.4}", own.name, of(own)))).collect::<Vec<_>>()
    };
    let folded = detectors.iter().any(|detector| !detector.folds.is_empty());
    let averaged = if folded { " With several folds, it is the mean curve." } else { "" };
    let roc_caption = format!(
        "ROC: the true-positive rate (attacks that are anomalies) by the false-positive rate (benign rows that are anomalies). \
         The number is the AUROC; the straight line is chance.{averaged}"
    );
    let precision_caption = format!(
        "Precision (anomalies that are attacks) by recall (attacks that are anomalies). The number is the average precision.{averaged}"
    );
    let alpha = detectors.first().map_or(0.0, |first| first.alpha);
    let columns = ["AUROC", "average precision"].map(str::to_owned).into_iter();
    let columns = columns.chain(FPRS.map(|fpr| format!("TPR at FPR {fpr}")));
    let columns = columns.chain(["precision", "recall", "F1", "FPR", "false alarms an hour"].map(str::to_owned));
    let heads =
        std::iter::once(PageColumn::name("detector")).chain(columns.map(|name| PageColumn::number(&name))).collect();
    let row = |detector: &DetectorFigures| {
        let rates = FPRS.map(|fpr| detector.tpr_at_fpr[fpr]);
        let at_alpha = &detector.at_alpha;
        let all = [detector.auroc, detector.average_precision].into_iter().chain(rates);
        let all = all.chain([at_alpha.precision, at_alpha.recall, at_alpha.f1, detector.false_positive_rate]);
        let alarms = detector.false_alarms_per_hour.map(|rate| format!("{rate:.1}")).unwrap_or_default();
        let name = std::iter::once(html! { (detector.name) });
        name.chain(all.map(ratio)).chain([html! { (alarms) }]).collect()
    };
    html! {
        div.side {
            (figure(&curves("ROC curves", ["false-positive rate", "true-positive rate"], &roc, true), &legend(|own| own.auroc), &roc_caption))
            (figure(&curves("Precision-recall curves", ["recall", "precision"], &precision, false), &legend(|own| own.average_precision), &precision_caption))
        }
        (PageTable::new(heads, detectors.iter().map(row).collect()).markup())
        p.note { "Precision, recall, F1, FPR and false alarms where p < " (alpha) "." }
        div.side {
            @for detector in detectors {
                (confusion(&format!("{}, p < {alpha}", detector.name), &detector.confusion))
            }
        }
    }
}

/// The table of benign rows with low probabilities.
fn benign(detectors: &[BenignFigures]) -> Markup {
    let levels = FPRS.map(|level| PageColumn::number(&format!("p < {level}")));
    let heads = [PageColumn::name("detector"), PageColumn::number("benign rows")].into_iter().chain(levels).collect();
    let row = |own: &BenignFigures| {
        let shares = FPRS.map(|level| html! { (format!("{:.3} %", own.p_below[level] * 100.0)) });
        [html! { (own.name) }, html! { (grouped(own.rows as u64)) }].into_iter().chain(shares).collect()
    };
    let incidents: Option<usize> = detectors.iter().filter_map(|own| own.incidents).reduce(|a, b| a + b);
    html! {
        (PageTable::new(heads, detectors.iter().map(row).collect()).markup())
        p.note { "A calibrated probability is below p for the fraction p of benign rows." }
        @if let Some(incidents) = incidents { p.note { "Incidents, of all rows: " (incidents) } }
    }
}

/// AUROC and time to detection by label.
fn labels(detectors: &[DetectorFigures]) -> Markup {
    let all: BTreeSet<&String> = detectors.iter().flat_map(|detector| detector.classes.keys()).collect();
    let shown: Vec<&String> = all.iter().copied().take(SHOWN_LABELS).collect();
    let more = all.len() - shown.len();
    let heads = |first: [PageColumn; 2]| {
        let names = detectors.iter().map(|detector| PageColumn::number(detector.name));
        first.into_iter().chain(names).collect::<Vec<_>>()
    };
    let row = |label: &&String| {
        let of = || detectors.iter().map(|detector| detector.classes.get(*label));
        let rows = of().flatten().map(|figures| figures.rows).next().unwrap_or_default();
        let cells = of().map(|figures| figures.map_or_else(|| html! {}, |figures| ratio(figures.auroc)));
        [html! { (label) }, html! { (grouped(rows as u64)) }].into_iter().chain(cells).collect()
    };
    let course = |label: &&String| {
        let of = || detectors.iter().map(|detector| detector.classes.get(*label)?.found);
        let attacks = of().flatten().map(|found| found.attacks).next()?;
        let cells = of().map(|found| html! { (found.as_ref().map(found_text).unwrap_or_default()) });
        Some([html! { (label) }, html! { (grouped(attacks as u64)) }].into_iter().chain(cells).collect())
    };
    let courses: Vec<Vec<Markup>> = shown.iter().filter_map(course).collect();
    let hours = detectors.iter().find_map(|detector| detector.watch.as_ref()).map(Watch::hours);
    html! {
        (PageTable::new(heads([PageColumn::name("label"), PageColumn::number("rows")]), shown.iter().map(row).collect())
            .captioned("AUROC against the benign rows").markup())
        @if more > 0 { p.note { "and " (more) " more labels" } }
        @if let (false, Some(hours)) = (courses.is_empty(), hours) {
            (PageTable::new(heads([PageColumn::name("label"), PageColumn::number("attacks")]), courses)
                .captioned("Median seconds to detection").markup())
            p.note {
                "From the start of an attack's first row to the time at which the meter wrote the first of its rows with \
                 p < alpha, over " (format!("{hours:.2}")) " hours of traffic."
            }
        }
    }
}

fn clusters(detectors: &[DetectorFigures]) -> Markup {
    html! {
        @for detector in detectors {
            @if let Some(clusters) = &detector.clusters {
                @let sizes: Vec<f64> = clusters.sizes.iter().map(|size| *size as f64).collect();
                @let all: f64 = sizes.iter().sum();
                @let rows = clusters.sizes.iter().enumerate().map(|(number, size)| vec![
                    html! { (number + 1) },
                    html! { (grouped(*size as u64)) },
                    html! { (format!("{:.1} %", 100.0 * *size as f64 / all.max(1.0))) },
                ]).collect();
                @let quality = match (clusters.silhouette, clusters.davies_bouldin) {
                    (Some(silhouette), Some(index)) => format!(": silhouette {silhouette:.3}, Davies-Bouldin {index:.3}"),
                    _ => String::new(),
                };
                (PageTable::new(vec![PageColumn::name("cluster"), PageColumn::number("rows"), PageColumn::number("share")], rows)
                    .with_bars(&sizes).captioned(&format!("{}{quality}", detector.name)).markup())
            }
        }
    }
}

fn classifiers(classifiers: &[ClassifierFigures]) -> Markup {
    let heads = ["accuracy", "precision", "recall", "F1"].map(PageColumn::number);
    let heads = std::iter::once(PageColumn::name("classifier")).chain(heads).collect();
    let row = |classifier: &ClassifierFigures| {
        let ClassifierFigures { accuracy, precision, recall, f1, .. } = classifier;
        let numbers = [accuracy, precision, recall, f1].into_iter().map(|value| ratio(*value));
        std::iter::once(html! { (classifier.name) }).chain(numbers).collect()
    };
    html! {
        (PageTable::new(heads, classifiers.iter().map(row).collect()).markup())
        p.note { "Precision, recall and F1 are means over the classes." }
        @for classifier in classifiers {
            @if classifier.confusion.classes.len() <= MATRIX_CLASSES {
                (confusion(classifier.name, &classifier.confusion))
            }
        }
    }
}
