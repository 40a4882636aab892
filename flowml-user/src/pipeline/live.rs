//! The live run: attaches to interfaces, and runs its stages until a signal or the end of the duration.
//!
//! The drain (`super::drain`) and the processing of its epochs (`super::stages`) have their own threads. This thread
//! serves signals, keys, metrics and the service manager.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flowml_common::handover::Account;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::confinement::{confine, filter_calls};
use super::drain::Drain;
use super::interfaces::{Beginning, How, Metered, News, Selected, reports};
use super::kept::{Due, Dues, KeptModel, settings};
use super::lasting::Lasting;
use super::learners::{Begin, Builtin, Learners, is_file};
use super::overload::Overload;
use super::shares::Shares;
use super::stages::{Flows, Over, Status};
use super::state::{Found, KeptState, Moment, Origin};
use super::stop::Stop;
use super::{Pipeline, inspector};
use crate::capture::attach::Attachment;
use crate::capture::copied::Copied;
use crate::capture::kernel::{KernelTable, monotonic_ns, realtime_ns};
use crate::capture::pins::Pins;
use crate::capture::takeover::keep;
use crate::capture::{CaptureError, UNKNOWN_PREEMPTION};
use crate::cli::{Direction, Run};
use crate::features::FlowColumns;
use crate::object;
use crate::process::capabilities::{self, CapabilitySet};
use crate::process::journal::{Priority, told};
use crate::process::kernel::Preemption;
use crate::process::priority::Nice;
use crate::process::queue::Queue;
use crate::process::service::Service;
use crate::record::{Clock, Inspector};
use crate::session::{Sessions, Timeouts};
use crate::sink::{
    Closing, Console, Event, Events, InterfaceReport, Metrics, Pace, Scrapes, Sinks, Verbosity, counted, tell_last,
};

/// Interval between checks for detached programs, as the kernel does not report detaching.
const LOOK: Duration = Duration::from_secs(1);

/// The nice values of the drain and of this thread are lower than those of the other threads by this. On a busy host
/// the drain then gets a CPU before the flow table is full, and metrics are served. Both need little CPU time. A scraper
/// decides how much this thread needs, so it comes after the drain.
const DRAIN_BEFORE: i32 = 10;
const SERVING_BEFORE: i32 = 5;

/// Meters live until a signal or the end of the duration.
///
/// # Errors
/// If metering cannot start, or an output failed.
pub async fn run(arguments: &Run) -> Result<()> {
    let inspector = inspector(&arguments.content)?;
    let columns = FlowColumns::of(inspector.as_ref());
    let learners = Learners::begin(begin(arguments), columns, &settings(arguments), arguments.alarms.level())?;
    learn(arguments, inspector, learners, None).await.map(|_| ())
}

/// Meters live with these models until something ends the run. Saves them to the model file periodically and at the
/// end, if there is one. Returns them to a caller that saves them to `saves`.
///
/// # Errors
/// As [`run`].
pub(super) async fn learn(
    arguments: &Run,
    inspector: Option<Inspector>,
    learners: Learners,
    saves: Option<&Path>,
) -> Result<Learners> {
    // Before anything is attached, so that every signal from here on ends the run properly.
    let mut stop = Stop::new(arguments.tui)?;
    let object = object::embedded().ok_or(CaptureError::NoObject)?;
    let columns = FlowColumns::of(inspector.as_ref());
    // Before the outputs are opened, so that files are not truncated if the run cannot start.
    let preemption = Preemption::of_kernel();
    if preemption == Preemption::Possible {
        return Err(CaptureError::Preemptible.into());
    }
    let timeouts = Timeouts { idle: arguments.idle_timeout, active: arguments.active_timeout, ..Timeouts::default() };
    let pins = arguments.pin.as_deref().map(Pins::open).transpose().map_err(CaptureError::from)?;
    let mut table = load(object, arguments, pins.as_ref(), timeouts)?;
    // The attachments of an agent that was killed during its start are gone now.
    let selected = Selected::of(arguments).await?;
    // Landlock restricts a thread and those that it starts, so the threads of outputs are restricted when they are
    // opened.
    let (reach, unconfined) = confine(arguments, saves);
    let console = Console::on_standard_error(arguments.verbosity());
    let mut sinks = Sinks::open(&arguments.outputs, columns, Pace::Live, console)?;
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

    if preemption == Preemption::Unknown {
        sinks.notice(UNKNOWN_PREEMPTION);
    }
    let service = Service::of_environment();
    let size = table.size();
    sinks.notice(&format!(
        "flow table: {} flows on each of {} CPUs, {:.0} MiB of locked memory",
        size.shape.entries(),
        size.cpus,
        size.bytes() as f64 / f64::from(1 << 20)
    ));
    let how = How::of(arguments);
    how.load(&mut table.programs);
    let Beginning { mut attached, news } = selected.begin(&mut table.programs, how, pins.as_ref())?;
    for news in news {
        match news {
            News::Notice(text) => sinks.notice(&text),
            News::Warning(text) => sinks.warn(&text),
        }
    }
    let pins = pins.map(|pins| keep(pins, &table, &mut attached)).transpose()?;
    let shares = Shares::of(arguments.memory_limit(), arguments.content.limit());
    let (state, found) = match &arguments.state {
        Some(path) => {
            let moment = Moment::new(table.identity(), table.drains());
            let sessions = Sessions::new(timeouts).with_capacity(shares.sessions).with_most_at_once(shares.judged);
            KeptState::read(path, moment, origin(arguments), columns, sessions)
        }
        None => (None, Found::default()),
    };
    let Found { learners: known, open, over, notices, warnings } = found;
    // Packets in sessions that continue are not lost.
    let lost = open.as_ref().map_or(table.earlier().unreported, |open| open.without(table.earlier().unreported));
    let earlier = pins.as_ref().map(|_| Account { unreported: lost, ..*table.earlier() });
    notices.iter().for_each(|text| sinks.notice(text));
    warnings.iter().for_each(|text| sinks.warn(text));
    if let (Some(pins), Some(earlier)) = (&pins, &earlier) {
        sinks.notice(&describe_pins(pins, earlier));
    }
    let learners = known.map_or(learners, |known| known.with_alarms(arguments.alarms.level()));
    let reports = reports(&attached);
    let metrics = Metrics::new(&reports, size.shape.entries(), size.cpus);
    // Serves until it is dropped.
    let _serving = scrapes.map(|scrapes| scrapes.serve(metrics.registry()));
    let closing = Closing::default();
    let sinks = sinks.with_metrics(Some(metrics)).with_closing(closing.clone());
    let mut pipeline = Pipeline::new(timeouts, reports, Some(learners.beside()), sinks, monotonic_ns(), rand::random())
        .with_inspector(inspector)
        .resume(open)
        .after(earlier)
        .within(shares);
    if let Some(over) = over {
        pipeline.end_over(over);
    }
    stop.after(arguments.duration);

    let (kept, dues) = KeptModel::new(arguments, columns, reach)?;
    // Errors up to here are shown without the terminal UI.
    if arguments.tui {
        pipeline.sinks().enter_screen()?;
    }
    let usual = Nice::of_this_thread();
    // Raising a priority may need a capability. The drain is started by this thread, and has its priority.
    usual.before(DRAIN_BEFORE).apply();
    give_up_capabilities(&mut table, how, &attached)?;
    // This includes the threads of the outputs, which were started before.
    filter_calls(arguments.sandbox).iter().for_each(|missing| pipeline.warn(missing));
    service.ready(&pipeline.status());
    let backlog = Arc::new(Queue::new(shares.backlog));
    let (over, ended) = unbounded_channel();
    let status = Arc::new(Status::new(pipeline.status()));
    let service = Arc::new(service);
    let KernelTable { programs, table } = table;
    let metered = selected.go_on(how, programs, pins, attached);
    // Threads started from here on have only the remaining capabilities.
    let (drain, returns) = Drain::begin(table, arguments.interval, Arc::clone(&backlog), Over::new(&over))?;
    usual.before(SERVING_BEFORE).apply();
    let (own_service, own_status) = (Arc::clone(&service), Arc::clone(&status));
    let overload = Overload::new();
    let flows = Flows {
        pipeline,
        kept,
        state,
        service: own_service,
        returns,
        status: own_status,
        overload,
        held: Lasting::default(),
        unended: None,
        most_open: 0,
    };
    let flows = flows.begin(Arc::clone(&backlog), Over::new(&over), usual)?;

    let events = Events::of_screen(arguments.tui);
    let mut serving = Serving { metered, backlog, status, service, events, dues, ended };
    serving.serve(arguments.interval, &mut stop).await;
    closing.begin();
    serving.service.stopping();
    // The remaining work may take a while, so the UI is closed first. The summary follows.
    serving.backlog.force(Message::LeaveScreen);
    // Detach first, then count what arrived until then, so that every received packet is in the summary. Pinned
    // programs stay attached, and count for the next agent.
    let pins = serving.metered.end();
    let drained = drain.end();
    // Metrics are served until the end.
    let (finished, kept) = spawn_blocking(move || flows.join()).await.context("the thread of the flows")?;
    // Models are kept even if rows were lost.
    let learners = finished.learners.context("the pipeline was given learners")?;
    if let Some(path) = kept.file() {
        learners.save(path)?;
    }
    let mut table = drained?;
    finished.outputs?;
    if !finished.conserved {
        bail!("the conservation check failed: packets received are not packets in flows plus packets skipped");
    }
    let mut unreported = lost;
    unreported.add(finished.left.counted.packets, finished.left.counted.bytes);
    table.set_unreported(unreported);
    table.set_reported();
    if let Some(pins) = pins.filter(|_| arguments.verbosity() >= Verbosity::Summary) {
        tell_last(&told(Priority::Information, &describe_kept(&pins)));
    }
    Ok(learners)
}

/// The origin of the models: nothing with `--learn`, the model file if it exists, otherwise the shipped model.
fn begin(arguments: &Run) -> Begin<'_> {
    match &arguments.model {
        _ if arguments.learn => Begin::Anew,
        Some(path) if is_file(path) && path.exists() => Begin::File(path),
        Some(path) => Begin::Builtin(Builtin::named(path).unwrap_or_else(|| builtin(arguments))),
        None => Begin::Builtin(builtin(arguments)),
    }
}

/// The origin of models without a file.
fn origin(arguments: &Run) -> Option<Origin> {
    let has_file = arguments.model.as_deref().is_some_and(is_file);
    Origin::of(begin(arguments)).filter(|_| !has_file)
}

/// The shipped model for the metered direction.
const fn builtin(arguments: &Run) -> Builtin {
    match arguments.direction {
        Direction::Ingress => Builtin::Ingress,
        Direction::Both => Builtin::Both,
    }
}

/// Loads the programs, with the pinned table if there is one.
fn load(object: &[u8], arguments: &Run, pins: Option<&Pins>, timeouts: Timeouts) -> Result<KernelTable, CaptureError> {
    let (capacity, payload, boundaries) = (arguments.flow_capacity, arguments.content.limit(), timeouts.boundaries());
    match pins {
        Some(pins) => KernelTable::open(object, pins, capacity, payload, boundaries),
        None => KernelTable::load(object, capacity, payload, boundaries),
    }
}

/// A message in the backlog, processed in order.
pub(super) enum Message {
    /// A drained epoch, and the duration of the drain. If an interval ends with it, also the lateness of its end.
    Drained { copied: Box<Copied>, took: Duration, late: Option<Duration>, clock: Clock },
    /// An epoch could not be drained because the backlog was full.
    Held,
    /// A notice.
    Notice(String),
    /// A warning.
    Warning(String),
    /// The metered interfaces have changed.
    Interfaces(Vec<InterfaceReport>),
    /// An event of the UI's terminal.
    Event(Event),
    /// A task with the model file is due.
    Model(Due),
    /// The terminal UI is to close.
    LeaveScreen,
}

/// Drops all capabilities except those for draining, attaching and detaching, and CAP_DAC_OVERRIDE for files: a file
/// that root may write at the start can be written at the end.
fn give_up_capabilities(table: &mut KernelTable, how: How, attached: &[Attachment]) -> Result<()> {
    let detaching = attached.iter().map(Attachment::needs);
    let needed = table.needs()? | how.needs() | CapabilitySet::DAC_OVERRIDE;
    let needed = detaching.fold(needed, |all, needed| all | needed);
    capabilities::keep(needed).context("cannot give up the capabilities that are needed no more")
}

/// Serves interfaces, keys and the service manager while the stages work.
struct Serving {
    metered: Metered,
    backlog: Arc<Queue<Message>>,
    status: Arc<Status>,
    service: Arc<Service>,
    events: Events,
    dues: Dues,
    /// Receives a message when a stage has ended, or requests the end of the run.
    ended: UnboundedReceiver<()>,
}

impl Serving {
    /// Serves until something ends the run.
    async fn serve(&mut self, every: Duration, stop: &mut Stop) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let beat = self.service.beat();
        let mut beats = interval(beat.unwrap_or(every));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return,
                _ = self.ended.recv() => return,
                due = self.dues.next() => self.backlog.force(Message::Model(due)),
                _ = beats.tick(), if beat.is_some() => self.service.alive(&self.status.now()),
                changes = self.metered.changed() => {
                    let before = self.metered.reports();
                    let news = self.metered.follow(changes).await;
                    self.tell(news, &before);
                }
                _ = looks.tick() => {
                    let before = self.metered.reports();
                    let news = self.metered.look_after().await;
                    self.tell(news, &before);
                }
                event = self.events.next() => self.backlog.force(Message::Event(event)),
            }
        }
    }

    /// Passes on messages about interfaces, and the metered interfaces if they differ from `before`.
    fn tell(&self, news: Vec<News>, before: &[InterfaceReport]) {
        for news in news {
            self.backlog.force(match news {
                News::Notice(text) => Message::Notice(text),
                News::Warning(text) => Message::Warning(text),
            });
        }
        let now = self.metered.reports();
        if now != before {
            self.backlog.force(Message::Interfaces(now));
        }
    }
}

/// The message about the pin folder at the start.
fn describe_pins(pins: &Pins, earlier: &Account) -> String {
    let folder = pins.folder().display();
    let taken = counted(earlier.received.packets, "packet");
    match (earlier.received.packets, earlier.unreported.packets) {
        (0, _) => format!("pinned in {folder}: packets are counted while no agent runs"),
        (_, 0) => format!("pinned in {folder}: earlier agents drained {taken}"),
        (_, lost) => {
            let lost = counted(lost, "packet");
            format!("pinned in {folder}: earlier agents drained {taken} ({lost} by agents that did not end properly)")
        }
    }
}

/// The message about the pin folder at the end.
fn describe_kept(pins: &Pins) -> String {
    let folder = pins.folder().display();
    format!(
        "flowml: the programs stay attached and count: continue with '--pin {folder}', or remove them with 'flowml unpin {folder}'\n"
    )
}

/// The clock of packet times, as of now.
pub(super) fn clock() -> Clock {
    Clock::new(monotonic_ns(), realtime_ns())
}
