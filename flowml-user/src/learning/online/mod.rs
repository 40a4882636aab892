//! The learner of a run: it trains on flows and host windows while it scores them.

mod beside;
pub(crate) mod feedback_labels;
pub(crate) mod fitted;
pub(crate) mod learner;
mod local;
mod poison;
mod promotion;
mod reason;
pub(crate) mod settings;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
mod update;
mod verdict;
mod warm_up;

pub use self::feedback_labels::{FeedbackClass, FeedbackLabel};
pub use self::learner::Learner;
pub use self::promotion::{ModelEvent, Promotion, Trial};
pub use self::reason::{Reason, TypicalValue, one_line};
pub use self::settings::Settings;
pub use self::verdict::{ClusterSummary, Eligibility, Status, Verdict};
