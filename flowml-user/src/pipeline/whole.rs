//! Captures judged by themselves: learners see all of a capture before they judge any of it, so that each of its rows has a
//! verdict, the first and the few too.
//!
//! An attack in the capture must not become what is normal. So what sequential tests speak against is not learnt, nor what came
//! and went far from all that lasts, and clusters do without the farthest rows ([`Settings::trim`]); probabilities rest on rows that
//! were held out.

use anyhow::Result;

use super::learners::Learners;
use crate::cli::AlarmLevel;
use crate::features::FlowColumns;
use crate::model::Settings;

/// Learners that judge by all that `show` shows them, and learn nothing more; and why there are no verdicts on rows of a kind, a
/// sentence each.
pub(super) fn learnt(
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
            "no {unit} are judged: there are none to learn from, other than those of hosts that sequential tests accuse"
        )
    };
    Ok((learners.held(), without.into_iter().map(reason).collect()))
}
