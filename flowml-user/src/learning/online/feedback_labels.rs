//! Feedback labels of an operator on anomalous rows: benign, or an attack.

use serde::{Deserialize, Deserializer, Serialize};

use super::fitted::Fitted;
use crate::learning::checked::{Checked, Outcome, checked, within};
use crate::learning::cluster::kmeans::part;

/// Number of rows that are kept of one feedback label, spread over its rows. Windows of one incident resemble each
/// other.
const ROWS_OF_A_LABEL: usize = 32;

/// The largest number of rows of all feedback labels, because each unusual row is compared with all of them. The oldest
/// labels are dropped first.
const MOST_ROWS: usize = 1024;

/// A row that is at least this probable is normal, whatever it resembles.
const NOTABLE: f64 = 0.1;

/// The verdict of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackClass {
    /// Normal traffic.
    Benign,
    /// An attack.
    Attack,
}

impl FeedbackClass {
    /// The verdict's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Attack => "attack",
        }
    }
}

/// A feedback label: rows and an operator's verdict on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedbackLabel {
    /// The origin of the rows, for users.
    pub note: String,
    /// The verdict.
    pub class: FeedbackClass,
    /// NaN for undefined values, which JSON writes as null.
    #[serde(deserialize_with = "undefined_as_nan")]
    rows: Vec<Vec<f64>>,
}

/// Reads rows of numbers, in which null becomes NaN.
fn undefined_as_nan<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<f64>>, D::Error> {
    let rows = Vec::<Vec<Option<f64>>>::deserialize(from)?;
    Ok(rows.into_iter().map(|row| row.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect()).collect())
}

impl FeedbackLabel {
    /// A feedback label on these rows. Each has one value for each column of the learner.
    #[must_use]
    pub fn new(note: String, class: FeedbackClass, rows: &[Vec<f64>]) -> Self {
        let step = rows.len().div_ceil(ROWS_OF_A_LABEL).max(1);
        Self { note, class, rows: rows.iter().step_by(step).cloned().collect() }
    }
}

/// All feedback labels of a learner, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent, remote = "Self")]
pub(crate) struct FeedbackLabels(Vec<FeedbackLabel>);

checked!(FeedbackLabels);

impl Checked for FeedbackLabels {
    const NAME: &str = "feedback_labels";

    fn check(&self) -> Outcome {
        within("the number of rows", self.rows() as f64, 0.0..=MOST_ROWS as f64)
    }
}

impl FeedbackLabels {
    pub(crate) fn add(&mut self, label: FeedbackLabel) {
        self.0.push(label);
        while self.0.len() > 1 && self.rows() > MOST_ROWS {
            self.0.remove(0);
        }
    }

    fn rows(&self) -> usize {
        self.0.iter().map(|label| label.rows.len()).sum()
    }

    pub(crate) fn all(&self) -> &[FeedbackLabel] {
        &self.0
    }

    /// Whether every row has one value for each column.
    pub(crate) fn fit(&self, columns: usize) -> bool {
        self.0.iter().flat_map(|label| &label.rows).all(|row| row.len() == columns)
    }
}

/// The feedback labels, scaled by one fitted model.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Likeness {
    /// A row resembles a labelled row if their squared distance is at most this: the mean squared distance of normal
    /// rows from their centroid.
    radius2: f64,
    below: Vec<f64>,
    marked: Vec<(FeedbackClass, Vec<f64>)>,
}

impl Likeness {
    pub(crate) fn new(feedback_labels: &FeedbackLabels, fitted: &Fitted) -> Self {
        let scaled = |row: &Vec<f64>| {
            let mut encoded = vec![0.0; fitted.scaler.width()];
            fitted.scaler.scale(row.as_slice().into(), &mut encoded);
            encoded
        };
        let rows = feedback_labels.0.iter().flat_map(|label| label.rows.iter().map(|row| (label.class, scaled(row))));
        Self { radius2: fitted.clusters.pooled_spread(), below: fitted.scaler.below(), marked: rows.collect() }
    }

    /// The verdict on a row with this probability, if it resembles a labelled row; that of the nearest one.
    pub(crate) fn of(&self, vector: &[f64], probability: f64) -> Option<FeedbackClass> {
        if probability >= NOTABLE {
            return None;
        }
        let distances = self.marked.iter().map(|(class, marked)| (self.distance2(vector, *class, marked), *class));
        // If several rows are equally near, the latest label counts.
        let nearest = distances.rev().min_by(|a, b| a.0.total_cmp(&b.0))?;
        (nearest.0 <= self.radius2).then_some(nearest.1)
    }

    /// A smaller value than in a benign row is benign too, and a larger value than in an attack is an attack too. Such
    /// differences have the weight of differences below a centroid.
    fn distance2(&self, vector: &[f64], class: FeedbackClass, marked: &[f64]) -> f64 {
        let parts = vector.iter().zip(marked).zip(&self.below);
        parts
            .map(|((x, marked), below)| match class {
                FeedbackClass::Benign => part(*x, *marked, *below),
                FeedbackClass::Attack => part(*marked, *x, *below),
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ArrayView2};
    use rand::{Rng, SeedableRng};
    use rand_distr::StandardNormal;
    use rand_xoshiro::Xoshiro256Plus;

    use super::*;
    use crate::features::{Column, Learn};
    use crate::learning::{Learner, Settings, TrafficModel};

    const COLUMNS: [Column; 2] = [
        Column { name: "a", unit: "", meaning: "", learn: Learn::Ratio },
        Column { name: "b", unit: "", meaning: "", learn: Learn::Ratio },
    ];

    fn noise(rows: usize, rng: &mut Xoshiro256Plus) -> Array2<f64> {
        Array2::from_shape_fn((rows, COLUMNS.len()), |_| rng.sample(StandardNormal))
    }

    /// A learner of noise around zero.
    fn learnt() -> Learner {
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let settings = Settings { clusters: Some(1), alpha: 1e-3, warm_up_rows: 600, ..Settings::default() };
        let mut learner = Learner::new(COLUMNS.to_vec(), settings);
        for _ in 0..30 {
            learner.observe(noise(30, &mut rng).view());
        }
        assert!(learner.fit());
        learner
    }

    fn is_anomaly(learner: &mut Learner, row: [f64; 2]) -> bool {
        let verdicts = learner.observe(ArrayView2::from(&[row]));
        verdicts[0].as_ref().is_some_and(|verdict| verdict.anomaly)
    }

    fn label(learner: &mut Learner, class: FeedbackClass, row: [f64; 2]) {
        learner.label(FeedbackLabel::new("incident 1".to_owned(), class, &[row.to_vec()]));
    }

    #[test]
    fn rows_labelled_benign_and_smaller_ones_are_no_anomalies() {
        let mut learner = learnt();
        assert!(is_anomaly(&mut learner, [12.0, 0.0]) && is_anomaly(&mut learner, [11.0, 0.0]));
        label(&mut learner, FeedbackClass::Benign, [12.0, 0.0]);
        assert!(!is_anomaly(&mut learner, [12.0, 0.0]) && !is_anomaly(&mut learner, [11.0, 0.0]));
        assert!(is_anomaly(&mut learner, [18.0, 0.0]) && is_anomaly(&mut learner, [0.0, 12.0]));
    }

    #[test]
    fn rows_labelled_attack_are_anomalies_and_are_not_trained_on() {
        let mut learner = learnt();
        assert!(!is_anomaly(&mut learner, [2.4, 1.9]));
        label(&mut learner, FeedbackClass::Attack, [2.4, 1.9]);
        let before = learner.clusters();
        for _ in 0..300 {
            assert!(is_anomaly(&mut learner, [2.4, 1.9]));
        }
        assert_eq!(before[0].typical, learner.clusters()[0].typical);
        // Normal rows stay normal, however near they are.
        assert!(!is_anomaly(&mut learner, [0.5, 0.5]));
    }

    #[test]
    fn a_candidate_and_a_file_keep_the_feedback_labels() {
        let mut learner = learnt();
        label(&mut learner, FeedbackClass::Benign, [12.0, 0.0]);
        // A flow without packets in one direction has undefined columns.
        label(&mut learner, FeedbackClass::Attack, [f64::NAN, 20.0]);
        let file = tempfile::tempdir().expect("a folder").path().join("m.json");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        TrafficModel::write(&file, &[("own", &learner)]).expect("written");
        let read = TrafficModel::read(&file).expect("read");
        let mut again = read.learner("own", COLUMNS.to_vec()).expect("fits").expect("there");
        assert!(!is_anomaly(&mut again, [12.0, 0.0]));
        let mut rng = Xoshiro256Plus::seed_from_u64(2);
        let mut next = learner.candidate(learner.settings().clone());
        for _ in 0..30 {
            next.observe(noise(30, &mut rng).view());
        }
        assert!(!is_anomaly(&mut next, [12.0, 0.0]) && is_anomaly(&mut next, [0.0, 12.0]));
    }

    #[test]
    fn a_candidate_is_not_trained_on_a_labelled_attack_in_its_warm_up() {
        let mut learner = learnt();
        label(&mut learner, FeedbackClass::Attack, [12.0, 12.0]);
        let mut rng = Xoshiro256Plus::seed_from_u64(3);
        let mut next = learner.candidate(learner.settings().clone());
        for _ in 0..30 {
            let mut rows = noise(30, &mut rng);
            rows.slice_mut(ndarray::s![..6, ..]).fill(12.0);
            next.observe(rows.view());
        }
        assert!(is_anomaly(&mut next, [12.0, 12.0]));
        assert!(next.clusters().iter().all(|cluster| cluster.typical.iter().all(|value| value.value < 6.0)));
    }

    #[test]
    fn feedback_labels_are_bounded_and_the_oldest_are_dropped_first() {
        let mut feedback_labels = FeedbackLabels::default();
        let rows = vec![vec![0.0; 2]; 100];
        for number in 0..60 {
            feedback_labels.add(FeedbackLabel::new(number.to_string(), FeedbackClass::Benign, &rows));
        }
        assert!(feedback_labels.all().iter().map(|label| label.rows.len()).sum::<usize>() <= MOST_ROWS);
        assert_eq!(feedback_labels.all().last().map(|label| label.note.as_str()), Some("59"));
        assert!(feedback_labels.all().iter().all(|label| (16..=ROWS_OF_A_LABEL).contains(&label.rows.len())));
    }
}
