//! Compares the scores and verdicts of the rows with their labels.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use flowml_user::learning::metrics::{Confusion, Ranking};

use super::sample::Reservoir;

/// Maximum number of scores for curves. Of more scores a random sample is used.
const SCORES: usize = 500_000;

/// Maximum number of labels. A column with more distinct values identifies rows instead.
const MOST_LABELS: usize = 1000;

/// The counts of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfLabel {
    pub(super) label: String,
    pub(super) rows: u64,
    /// Number of these rows that have a verdict.
    pub(super) judged: u64,
    pub(super) anomalies: u64,
}

/// The verdicts by label.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    benign: String,
    labels: Vec<OfLabel>,
    numbers: HashMap<String, usize>,
    reservoir: Reservoir,
    /// Scores, each with the index of its label.
    scores: Vec<(f64, u32)>,
}

impl Judged {
    /// No rows yet. Rows with the label `benign` are benign.
    pub(super) fn new(benign: &str) -> Self {
        Self {
            benign: benign.to_owned(),
            labels: Vec::new(),
            numbers: HashMap::new(),
            reservoir: Reservoir::new(SCORES),
            scores: Vec::new(),
        }
    }

    /// Adds a row: its label and, if it has a verdict, its score and whether it is an anomaly.
    pub(super) fn add(&mut self, label: &str, verdict: Option<(f64, bool)>) -> Result<()> {
        let number = match self.numbers.get(label) {
            Some(number) => *number,
            None => {
                ensure!(
                    self.labels.len() < MOST_LABELS,
                    "there are more than {MOST_LABELS} labels: expected names of attacks"
                );
                self.labels.push(OfLabel { label: label.to_owned(), ..OfLabel::default() });
                self.numbers.insert(label.to_owned(), self.labels.len() - 1);
                self.labels.len() - 1
            }
        };
        let own = &mut self.labels[number];
        own.rows += 1;
        let Some((score, anomaly)) = verdict else { return Ok(()) };
        own.judged += 1;
        own.anomalies += u64::from(anomaly);
        let row = (score, number as u32);
        match self.reservoir.place() {
            Some(place) if place < self.scores.len() => self.scores[place] = row,
            Some(_) => self.scores.push(row),
            None => {}
        }
        Ok(())
    }

    /// The label of benign rows.
    pub(super) fn benign(&self) -> &str {
        &self.benign
    }

    /// The labels, by decreasing number of rows.
    pub(super) fn by_rows(&self) -> Vec<&OfLabel> {
        let mut labels: Vec<&OfLabel> = self.labels.iter().collect();
        labels.sort_by(|a, b| b.rows.cmp(&a.rows).then(a.label.cmp(&b.label)));
        labels
    }

    /// The ranking of attacks and benign rows by their scores, or of one label's rows and benign rows. None if one of
    /// both is missing.
    pub(super) fn ranking(&self, label: Option<&str>) -> Option<Ranking> {
        let benign = self.numbers.get(&self.benign).map(|number| *number as u32);
        let only = label.map(|label| self.numbers.get(label).map(|number| *number as u32));
        let counts = |number: u32| Some(number) == benign || only.is_none_or(|only| only == Some(number));
        let rows = self.scores.iter().filter(|(_, number)| counts(*number));
        Ranking::new(rows.map(|(score, number)| (*score, Some(*number) != benign)))
    }

    /// The number of scores used, and the number of all scores.
    pub(super) fn ranked(&self) -> (u64, u64) {
        (self.scores.len() as u64, self.reservoir.seen())
    }

    /// The confusion matrix of attacks and benign rows.
    pub(super) fn confusion(&self) -> Confusion {
        let mut confusion = Confusion::new(vec!["normal".to_owned(), "anomaly".to_owned()]);
        for own in &self.labels {
            let truth = usize::from(own.label != self.benign);
            confusion.rows[truth][0] += own.judged - own.anomalies;
            confusion.rows[truth][1] += own.anomalies;
        }
        confusion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_label_and_ranked_by_score() {
        let mut judged = Judged::new("benign");
        let rows = [
            ("benign", Some((1.0, false))),
            ("benign", Some((4.0, true))),
            ("benign", None),
            ("scan", Some((9.0, true))),
            ("scan", Some((8.0, true))),
            ("flood", Some((0.5, false))),
        ];
        rows.into_iter().for_each(|(label, verdict)| judged.add(label, verdict).expect("there are few labels"));
        assert_eq!(judged.confusion().rows, [[1, 1], [1, 2]]);
        let labels: Vec<(&str, u64, u64, u64)> =
            judged.by_rows().iter().map(|own| (own.label.as_str(), own.rows, own.judged, own.anomalies)).collect();
        assert_eq!(labels, [("benign", 3, 2, 1), ("scan", 2, 2, 2), ("flood", 1, 1, 0)]);
        let auroc = |label| judged.ranking(label).map(|ranking| ranking.auroc());
        assert_eq!((auroc(Some("scan")), auroc(Some("flood"))), (Some(1.0), Some(0.0)));
        // 4 of 6 pairs are in the right order.
        assert!((auroc(None).expect("there are both") - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!((auroc(Some("other")), judged.ranked()), (None, (5, 5)));
    }

    #[test]
    fn too_many_distinct_labels_are_refused() {
        let mut judged = Judged::new("benign");
        let failed = (0..2000).find_map(|row| judged.add(&format!("flow {row}"), None).err());
        assert!(failed.is_some_and(|error| error.to_string().contains("more than 1000 labels")));
    }
}
