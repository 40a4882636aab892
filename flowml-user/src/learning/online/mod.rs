//! The learner of a run: it trains on flows and host windows while it scores them.
//!
//! ```
//! use flowml_user::features::{Column, Learn};
//! use flowml_user::learning::online::{Learner, Settings};
//! use ndarray::{Array2, array};
//!
//! let packets = Column { name: "packets", unit: "packets", meaning: "Packets", learn: Learn::LogScaled };
//! let settings = Settings { warm_up_rows: 40, warm_up_batches: 1, clusters: Some(1), ..Settings::default() };
//! let mut learner = Learner::new(vec![packets], settings);
//! learner.observe(Array2::from_shape_fn((40, 1), |(row, _)| 10.0 + (row % 5) as f64).view());
//! let verdicts = learner.observe(array![[11.0], [100_000.0]].view());
//! let scores: Vec<f64> = verdicts.iter().flatten().map(|verdict| verdict.score).collect();
//! assert!(scores[1] > scores[0]);
//! ```

mod beside;
pub(crate) mod feedback_labels;
pub(crate) mod fitted;
pub(crate) mod learner;
mod local;
mod poison;
mod promotion;
mod ready;
mod reason;
pub(crate) mod settings;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
mod training;
mod update;
mod verdict;
mod warm_up;

pub use self::feedback_labels::{FeedbackClass, FeedbackLabel};
pub use self::learner::Learner;
pub(crate) use self::promotion::ModelEvent;
pub use self::promotion::{FleetState, Promotion};
pub use self::reason::{Reason, TypicalValue, one_line};
pub use self::settings::Settings;
pub use self::verdict::{ClusterSummary, Eligibility, Status, Verdict};
