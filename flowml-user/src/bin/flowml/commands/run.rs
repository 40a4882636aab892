//! `flowml run`: meters live interfaces with the console, the terminal UI and metrics.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::{Context, Error, Result};
use flowml_user::engine::learners::Learners;
use flowml_user::engine::live::{Ended, Loaded, Outfit};
use flowml_user::engine::{Reread, Rereads};
use flowml_user::export::Pace;
use flowml_user::features::FlowColumns;
use flowml_user::process::journal::{Priority, prioritized};
use flowml_user::record::Inspector;
use tokio::sync::Notify;

use super::confinement::{confine, filter_calls};
use crate::args::{Arguments, Configuration, Run, Verbosity};
use crate::console::Console;
use crate::telemetry::{Metrics, Scrapes};
use crate::tui::forward;
use crate::ui::outward::print_last;

/// The keys of a configuration that can change during a run.
const KEYS: [&str; 5] = ["alpha", "false-alarms", "fleet-model", "fleet-model-hash", "model"];

/// Meters live until a signal or the end of the duration.
///
/// # Errors
/// If metering cannot start, or an output failed.
pub(crate) async fn run(arguments: &Run) -> Result<()> {
    let inspector = arguments.rows.content.inspector()?;
    let (columns, options) = (FlowColumns::of(inspector.as_ref()), arguments.options());
    let learners = Learners::begin(options.begin(), columns, &options.settings(), options.alarms)?;
    learn(arguments, inspector, learners, None).await.map(|_| ())
}

/// Meters live with these models until something ends the run. Returns them to a caller that saves them to `saves`.
///
/// # Errors
/// As [`run`].
pub(super) async fn learn(
    arguments: &Run,
    inspector: Option<Inspector>,
    learners: Learners,
    saves: Option<&Path>,
) -> Result<Learners> {
    let loaded = Loaded::new(arguments.options()).await?;
    // Landlock restricts a thread and those that it starts, so the threads of outputs are restricted when they are
    // opened.
    let (reach, unconfined) = confine(arguments, saves);
    let (keys, events) = channel();
    let console = Console::on_standard_error(arguments.verbosity());
    let console = if arguments.tui { console.with_screen(events) } else { console };
    let columns = arguments.rows.columns(inspector.as_ref());
    let mut sinks = arguments.output.open(columns, Pace::Live)?.observed_by(console);
    unconfined.iter().for_each(|missing| sinks.warn(missing));
    let scrapes = match arguments.metrics {
        Some(address) => {
            let scrapes = Scrapes::listen(address).await?;
            let address = scrapes.address()?;
            let open = if address.ip().is_loopback() {
                ""
            } else {
                ", without a password, for everyone who can reach this address"
            };
            sinks.notice(&format!("metrics at http://{address}/metrics{open}"));
            Some(scrapes)
        }
        None => None,
    };
    let metrics = scrapes.as_ref().map(|_| Metrics::new());
    let registry = metrics.as_ref().map(Metrics::registry);
    if let Some(metrics) = metrics {
        sinks = sinks.observed_by(metrics);
    }
    let rereads = arguments.configuration.clone().map(rereads);
    let mut attached = loaded.attach(Outfit { sinks, inspector, learners, reach, rereads })?;
    // Serves until it is dropped.
    let _serving = scrapes.zip(registry).map(|(scrapes, registry)| scrapes.serve(registry));
    // This includes the threads of the outputs, which were started before.
    filter_calls(arguments.sandbox).iter().for_each(|missing| attached.sinks().warn(missing));
    let wakes = Arc::new(Notify::new());
    let _keys = arguments.tui.then(|| forward(keys, Arc::clone(&wakes)));
    let Ended { learners, pins } = attached.run(&wakes).await?;
    if let Some(folder) = pins.filter(|_| arguments.verbosity() >= Verbosity::Summary) {
        print_last(&prioritized(Priority::Information, &describe_kept(&folder)));
    }
    Ok(learners)
}

/// Reads the configuration of this process again, and compares it with that of its start.
fn rereads(begun: Configuration) -> Rereads {
    Box::new(move || {
        let run = Arguments::of_this_run().map_err(Error::msg)?;
        let now = run.configuration.as_ref().context("the command line no longer has '--config'")?;
        let waiting: Vec<&str> = begun.changed(now).into_iter().filter(|key| !KEYS.contains(key)).collect();
        let warning = (!waiting.is_empty()).then(|| {
            let (path, keys) = (now.path().display(), waiting.join(", "));
            format!("{path}: changes of {keys} take effect at the next start")
        });
        Ok(Reread {
            alarms: run.rows.alarms.level(),
            fleet_model: run.fleet.model(),
            model: run.model,
            warnings: warning.into_iter().collect(),
        })
    })
}

/// The message about the pin folder at the end.
fn describe_kept(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "flowml: the programs stay attached and count: continue with '--pin {folder}', or remove them with 'flowml unpin {folder}'\n"
    )
}
