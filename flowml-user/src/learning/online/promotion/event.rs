//! The events that the promotion of models reports to the operator.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::trial::Trial;
use crate::learning::online::local;
use crate::learning::online::verdict::UNUSUAL;
use crate::learning::statistics::ModelIdentity;

/// An event that is reported to the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum ModelEvent {
    /// The candidate was promoted.
    Promoted(Trial),
    /// The candidate failed its trial, and another one is trained.
    Failed(Trial),
    /// Most rows since the start are unusual to the model in use.
    Suspicious {
        /// The fraction of unusual rows, 0–1.
        part: f64,
    },
    /// Anomalies are withheld until the model's probabilities hold for local traffic.
    Withheld,
    /// The probabilities hold from now on.
    Holds,
    /// Too many rows are unusual.
    Drift {
        /// The fraction of unusual rows, 0–1.
        part: f64,
    },
    /// A model of the fleet is tried beside the model in use.
    FleetTrial(ModelIdentity),
    /// The model of the fleet was promoted.
    FleetPromoted(ModelIdentity, Trial),
    /// The model of the fleet failed its trial.
    FleetRefused(ModelIdentity, Trial),
}

impl ModelEvent {
    /// Whether the event is a warning.
    #[must_use]
    pub(crate) const fn is_warning(&self) -> bool {
        matches!(self, Self::Suspicious { .. } | Self::Drift { .. } | Self::FleetRefused(..))
    }
}

impl fmt::Display for ModelEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withheld => write!(
                f,
                "anomalies are withheld until the model's probabilities hold for this host's traffic, for at least {} intervals; records contain the scores and the column 'withheld'",
                local::BATCHES
            ),
            Self::Holds => {
                write!(f, "the model's probabilities hold for this host's traffic: anomalies are reported from now on")
            }
            Self::Promoted(Trial { rows, anomalies, .. }) => write!(
                f,
                "the candidate model of this host's traffic is promoted: its probabilities hold ({anomalies} anomalies in {rows} rows outside incidents)"
            ),
            Self::Failed(Trial { incident: [found, again], .. }) if 2 * again < *found => write!(
                f,
                "the candidate model is rejected, because it detects only {again} of {found} anomalies of incidents; the current model stays in use, and a new candidate is trained"
            ),
            Self::Failed(Trial { rows, unusual, anomalies, .. }) => write!(
                f,
                "the candidate model is rejected, because its probabilities do not hold ({unusual} unusual rows and {anomalies} anomalies in {rows} rows outside incidents); the current model stays in use, and a new candidate is trained"
            ),
            Self::FleetTrial(model) => {
                write!(f, "model {model} of the fleet is tried beside the current model")
            }
            Self::FleetPromoted(model, Trial { rows, unusual, anomalies, .. }) => write!(
                f,
                "model {model} of the fleet is promoted: its probabilities hold for this host's traffic ({unusual} unusual rows and {anomalies} anomalies in {rows} rows outside incidents)"
            ),
            Self::FleetRefused(model, Trial { incident: [found, again], .. }) if 2 * again < *found => write!(
                f,
                "model {model} of the fleet is refused, because it detects only {again} of {found} anomalies of incidents; the current model stays in use"
            ),
            Self::FleetRefused(model, Trial { rows, unusual, anomalies, .. }) => write!(
                f,
                "model {model} of the fleet is refused, because its probabilities do not hold for this host's traffic ({unusual} unusual rows and {anomalies} anomalies in {rows} rows outside incidents); the current model stays in use"
            ),
            Self::Suspicious { part } => write!(
                f,
                "suspicious baseline: {:.0} % of the rows so far are unusual to the current model; either it was trained on different traffic, or an attack has lasted since the start; if this continues, a candidate model will be trained on all rows outside incidents",
                part * 100.0
            ),
            Self::Drift { part } => write!(
                f,
                "{:.0} % of recent rows are unusual, where {:.0} % is expected: traffic has changed, or an attack lasts; a candidate model is trained beside the current one",
                part * 100.0,
                UNUSUAL * 100.0
            ),
        }
    }
}
