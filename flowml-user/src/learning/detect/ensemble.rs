//! A detector that combines the probabilities of several detectors.

use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::detector::{Detector, FitDetector, Training};
use super::forest::IsolationForest;
use super::kmeans::Kmeans;
use super::mixture::GaussianMixture;
use crate::learning::calibration::held_out::{CalibrationSet, Split, split};
use crate::learning::checked::{Checked, Outcome, checked, holds};
use crate::learning::error::{LearnError, sound};

/// The members. The score is the mean of their `−ln p`, because their own scores have no common unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub(crate) struct Ensemble {
    members: Vec<Member>,
}

checked!(Ensemble);

impl Checked for Ensemble {
    const NAME: &str = "ensemble";

    fn check(&self) -> Outcome {
        holds(!self.members.is_empty(), "expected at least one of 'members'")?;
        self.members.iter().try_for_each(|member| member.calibration_set.check())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    model: MemberModel,
    calibration_set: CalibrationSet,
}

/// The model of a member: a detector whose training time is linear in the rows. Members are no ensembles, so that
/// reading a file takes bounded memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "detector", rename_all = "kebab-case")]
enum MemberModel {
    Kmeans(Kmeans),
    IsolationForest(IsolationForest),
    GaussianMixture(GaussianMixture),
}

impl MemberModel {
    /// Trains a member of each kind.
    fn fit_all(training: &Training<'_>) -> Result<[Self; 3], LearnError> {
        Ok([
            Self::Kmeans(Kmeans::fit(training).and_then(sound)?),
            Self::IsolationForest(IsolationForest::fit(training).and_then(sound)?),
            Self::GaussianMixture(GaussianMixture::fit(training).and_then(sound)?),
        ])
    }

    fn as_detector(&self) -> &dyn Detector {
        match self {
            Self::Kmeans(fitted) => fitted,
            Self::IsolationForest(fitted) => fitted,
            Self::GaussianMixture(fitted) => fitted,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Kmeans(_) => "kmeans",
            Self::IsolationForest(_) => "isolation-forest",
            Self::GaussianMixture(_) => "gaussian-mixture",
        }
    }
}

impl FitDetector for Ensemble {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError> {
        let Split { fit_on: learnt, held_out } = split(training.rows.nrows(), training.seed);
        let (learnt, held_out) = (training.rows.select(Axis(0), &learnt), training.rows.select(Axis(0), &held_out));
        let models = MemberModel::fit_all(&Training { rows: learnt.view(), ..*training })?;
        let member = |model: MemberModel| {
            let calibration_set = CalibrationSet::of(model.as_detector().score(held_out.view()));
            Member { model, calibration_set }
        };
        Ok(Self { members: models.into_iter().map(member).collect() })
    }
}

impl Detector for Ensemble {
    fn score(&self, rows: ArrayView2<'_, f64>) -> Vec<f64> {
        let mut sums = vec![0.0; rows.nrows()];
        for Member { model, calibration_set } in &self.members {
            for (sum, score) in sums.iter_mut().zip(model.as_detector().score(rows)) {
                *sum -= calibration_set.probability(score).max(f64::MIN_POSITIVE).ln();
            }
        }
        sums.into_iter().map(|sum| sum / self.members.len() as f64).collect()
    }

    fn describe(&self) -> String {
        let members = self
            .members
            .iter()
            .map(|Member { model, .. }| format!("{} ({})", model.name(), model.as_detector().describe()));
        members.collect::<Vec<_>>().join("; ")
    }

    fn inconsistency(&self, width: usize) -> Option<String> {
        self.members.iter().find_map(|member| member.model.as_detector().inconsistency(width))
    }
}
