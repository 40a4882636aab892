//! The trial of a candidate: counts of rows, and whether they permit its promotion.

use serde::{Deserialize, Serialize};

use crate::learning::online::local::holds;
use crate::learning::online::verdict::{Eligibility, UNUSUAL, Verdict};

/// The results of a candidate's trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Number of unsuspicious rows.
    pub rows: u64,
    /// Number of these rows that the candidate finds unusual.
    pub unusual: u64,
    /// Number of these rows that are anomalies by the candidate.
    pub anomalies: u64,
    /// Rows of incidents that are anomalies to the model in use, and how many of these are also anomalies to the
    /// candidate.
    pub incident: [u64; 2],
}

impl Trial {
    /// Whether the candidate can be promoted: its probabilities hold on unsuspicious rows, and it detects the anomalies
    /// of incidents again.
    pub(super) fn is_passed(&self, alpha: f64) -> bool {
        let [found, again] = self.incident;
        let holds = |below: u64, probability| holds(below as f64, self.rows as f64, probability);
        holds(self.unusual, UNUSUAL) && holds(self.anomalies, alpha) && 2 * again >= found
    }

    /// Adds a row with the verdicts of the candidate and of the model in use, if that gave one.
    pub(super) fn add(
        &mut self,
        eligibility: Eligibility,
        learns_unusual: bool,
        own: &Verdict,
        acting: Option<&Verdict>,
    ) {
        match eligibility {
            Eligibility::Suspect if acting.is_some_and(|verdict| verdict.anomaly) => {
                self.incident[0] += 1;
                self.incident[1] += u64::from(own.anomaly);
            }
            // Rows that the candidate was not trained on are not expected to be normal to it.
            Eligibility::Unusual if !learns_unusual => {}
            Eligibility::Welcome | Eligibility::Unusual => {
                self.rows += 1;
                self.unusual += u64::from(own.is_unusual());
                self.anomalies += u64::from(own.anomaly);
            }
            Eligibility::Suspect | Eligibility::Surplus => {}
        }
    }
}
