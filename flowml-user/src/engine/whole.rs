//! Trains models on a complete capture before any of its rows is scored, so that every row has a verdict.
//!
//! An attack in the capture must not become normal. So rows that sequential tests report are not used for training, nor
//! is activity that is short and far from all lasting activity. Clusters leave out the farthest rows
//! ([`Settings::trim`]), and probabilities use held-out rows.

use anyhow::Result;

use super::alarms::AlarmLevel;
use super::learners::Learners;
use crate::features::FlowColumns;
use crate::learning::Settings;

/// Trains models on everything that `show` passes to them. They are not trained further. Also returns a sentence for
/// each kind of rows that has no verdicts.
///
/// # Errors
/// Returns the error of `show`.
pub fn learnt(
    columns: FlowColumns,
    settings: &Settings,
    alarms: Option<AlarmLevel>,
    show: impl FnOnce(Learners) -> Result<Learners>,
) -> Result<(Learners, Vec<String>)> {
    let mut learners = show(Learners::of_whole(columns, settings))?;
    let without = learners.fit();
    if let Some(level) = alarms {
        learners.set_alarms(level);
    }
    let reason = |unit| {
        format!(
            "no {unit} are scored: there are none to train on, except those of hosts in findings of sequential tests"
        )
    };
    Ok((learners.held(), without.into_iter().map(reason).collect()))
}
