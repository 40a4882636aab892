//! A detector that combines the probabilities of several detectors.

use ndarray::{ArrayView2, Axis};
use serde::{Deserialize, Serialize};

use super::{Detector, DetectorKind, FitDetector, FittedDetector, LearnError, Training};
use crate::learning::calibration::held_out::{CalibrationSet, Split, split};
use crate::learning::checked::{Checked, Outcome, checked, holds};

/// The members: three detectors of different kinds whose training time is linear in the rows.
const MEMBERS: [DetectorKind; 3] = [DetectorKind::Kmeans, DetectorKind::IsolationForest, DetectorKind::GaussianMixture];

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
        // Members must not nest, so that reading a file takes bounded memory.
        let nested = self.members.iter().any(|member| member.model.kind() == DetectorKind::Ensemble);
        holds(!nested, "expected members that are no ensembles")?;
        self.members.iter().try_for_each(|member| member.calibration_set.check())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    model: FittedDetector,
    calibration_set: CalibrationSet,
}

impl FitDetector for Ensemble {
    fn fit(training: &Training<'_>) -> Result<Self, LearnError> {
        let Split { fit_on: learnt, held_out } = split(training.rows.nrows(), training.seed);
        let (learnt, held_out) = (training.rows.select(Axis(0), &learnt), training.rows.select(Axis(0), &held_out));
        let member = |kind: DetectorKind| {
            let model = kind.fit(&Training { rows: learnt.view(), ..*training })?;
            let calibration_set = CalibrationSet::of(model.as_detector().score(held_out.view()));
            Ok(Member { model, calibration_set })
        };
        Ok(Self { members: MEMBERS.into_iter().map(member).collect::<Result<_, LearnError>>()? })
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
            .map(|member| format!("{} ({})", member.model.kind().name(), member.model.as_detector().describe()));
        members.collect::<Vec<_>>().join("; ")
    }

    fn inconsistency(&self, width: usize) -> Option<String> {
        self.members.iter().find_map(|member| member.model.as_detector().inconsistency(width))
    }
}
