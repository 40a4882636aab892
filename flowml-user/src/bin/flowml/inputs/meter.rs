//! Meters a capture as a live run would.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use flowml_user::capture::file;
use flowml_user::engine::epochs::Epochs;
use flowml_user::engine::learners::Learners;
use flowml_user::engine::offline::{Offline, Wrong, count_whole, table};
use flowml_user::engine::{Finished, Pipeline};
use flowml_user::export::{Pace, Sinks, Target};
use flowml_user::features::FlowColumns;
use flowml_user::session::Timeouts;

use crate::args::Verbosity;
use crate::console::Console;
use crate::ui::progress::Step;

/// The length of an interval for captures, the default of a live run.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Meters a capture separately, from its first packet to its last, as a live run would. Returns the models.
pub(crate) fn meter(
    path: &Path,
    targets: &[Target],
    learners: Option<Learners>,
    step: &Step,
) -> Result<Option<Learners>> {
    let console = Console::on_standard_error(Verbosity::Errors);
    let sinks = Sinks::open(targets, FlowColumns::Headers, Pace::Offline)?.observed_by(console);
    let timeouts = Timeouts::default();
    let pipeline = Pipeline::new(timeouts, Vec::new(), learners, sinks, 0, 0);
    let mut offline = Offline::new(table(), pipeline, Epochs::new(INTERVAL, timeouts.idle))?;
    let name = file::name(path);
    let Wrong { problems, irregular } =
        count_whole(path, &mut offline, |frames| step.show(format!("metering {name}, {frames} frames")))?;
    let Finished { learners, conserved, outputs, .. } = offline.finish()?;
    outputs?;
    ensure!(
        conserved,
        "{name}: the conservation check failed: packets received are not packets in flows plus packets skipped"
    );
    for problem in problems {
        step.warn(&format!("{problem}; the packets that could be read are used"));
    }
    for what in irregular {
        step.warn(&format!("{name}: {what}"));
    }
    Ok(learners)
}
