//! Trains models of traffic on captures.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use flowml_user::capture::file;
use flowml_user::engine::learners::Learners;
use flowml_user::engine::{AlarmLevel, whole};
use flowml_user::features::FlowColumns;
use flowml_user::learning::Settings;

use super::meter::meter;
use crate::ui::progress::Step;

/// Checks that all inputs can be scored with a model of traffic.
///
/// # Errors
/// If an input is not a capture.
pub(crate) fn check_captures(inputs: &[PathBuf]) -> Result<()> {
    let other = inputs.iter().find(|path| !file::is_capture(path));
    other
        .map_or(Ok(()), |path| bail!("{}: expected a capture, because the model is a model of traffic", path.display()))
}

/// Models that score captures after training on all of them.
pub(crate) fn of_themselves(
    captures: &[PathBuf],
    settings: &Settings,
    alarms: Option<AlarmLevel>,
    step: &Step,
) -> Result<Learners> {
    let show = |learners| meter_each(captures, learners, step);
    let (learners, notices) = whole::learnt(FlowColumns::Headers, settings, alarms, show)?;
    notices.iter().for_each(|notice| step.notice(notice));
    Ok(learners)
}

/// Trains models on captures, each metered separately.
pub(crate) fn meter_each(captures: &[PathBuf], mut learners: Learners, step: &Step) -> Result<Learners> {
    for path in &file::in_order_of_time(captures) {
        learners.flows.acting_mut().settle();
        learners.hosts.acting_mut().settle();
        learners = meter(path, &[], Some(learners), step)?.context("the pipeline was given learners")?;
    }
    step.show("learning");
    Ok(learners)
}
