//! Learning: from rows of values to clusters, scores, probabilities and classes.
//!
//! There are two learners. [`online`] follows a run: it trains on flows and host windows while it scores them. [`batch`]
//! trains once on a complete table, with the detectors of [`detect`] or the classifiers of [`classify`]. Both encode
//! their columns ([`preprocess`]), and their models are stored in files ([`model_file`]).
//!
//! ```
//! use std::path::Path;
//!
//! use flowml_user::learning::ModelKind;
//!
//! // The shipped model of traffic.
//! assert_eq!(ModelKind::of_file(Path::new("models/both.json"))?, ModelKind::Traffic);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod batch;
mod calibration;
mod checked;
pub mod classify;
mod cluster;
pub mod detect;
mod error;
pub mod evaluation;
pub mod fleet;
mod hash;
mod kinds;
pub mod metrics;
pub mod model_file;
pub mod online;
pub mod preprocess;
mod sample;
pub mod select;
pub mod statistics;
mod vectors;

pub use self::error::{LearnError, MOST_CLASSES};
pub(crate) use self::model_file::Snapshot;
#[cfg(feature = "live")]
pub(crate) use self::model_file::fingerprint;
pub use self::model_file::{ModelError, ModelKind, TrafficModel};
pub(crate) use self::online::ModelEvent;
pub use self::online::{
    ClusterSummary, Eligibility, FeedbackClass, FeedbackLabel, FleetState, Learner, Promotion, Reason, Settings,
    Status, TypicalValue, Verdict, one_line,
};
pub use self::preprocess::Below;
pub use self::statistics::{ClusterStatistics, ModelHash, ModelIdentity};
