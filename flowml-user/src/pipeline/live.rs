//! The live run: attach, and keep its stages going until a signal or the end of the duration.
//!
//! The drain (`super::drain`) and the way of what it takes (`super::stages`) have threads of their own; this one serves
//! signals, keys, metrics and the service manager.

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
use crate::process::queue::Queue;
use crate::process::service::Service;
use crate::record::{Clock, Inspector};
use crate::session::{Sessions, Timeouts};
use crate::sink::{
    Closing, Console, Event, Events, InterfaceReport, Metrics, Pace, Scrapes, Sinks, Verbosity, counted, tell_last,
};

/// How often programs are looked for that somebody has detached, which the kernel does not report.
const LOOK: Duration = Duration::from_secs(1);

/// Meters live until something ends it.
///
/// # Errors
/// Where metering cannot begin, or where an output failed.
pub async fn run(arguments: &Run) -> Result<()> {
    let inspector = inspector(&arguments.content)?;
    let columns = FlowColumns::of(inspector.as_ref());
    let learners = Learners::begin(begin(arguments), columns, &settings(arguments), arguments.alarms.level())?;
    learn(arguments, inspector, learners, None).await.map(|_| ())
}

/// Meters live with these learners until something ends it, saves them to the file of the model, if there is one, now and
/// then and at the end, and gives them back to one who saves them to `saves`.
///
/// # Errors
/// As [`run`].
pub(super) async fn learn(
    arguments: &Run,
    inspector: Option<Inspector>,
    learners: Learners,
    saves: Option<&Path>,
) -> Result<Learners> {
    // Before anything is attached: whatever comes from here on ends the run in order.
    let mut stop = Stop::new(arguments.tui)?;
    let object = object::embedded().ok_or(CaptureError::NoObject)?;
    let columns = FlowColumns::of(inspector.as_ref());
    // Before the outputs are opened: what they replace stays.
    let preemption = Preemption::of_kernel();
    if preemption == Preemption::Possible {
        return Err(CaptureError::Preemptible.into());
    }
    let timeouts = Timeouts { idle: arguments.idle_timeout, active: arguments.active_timeout, ..Timeouts::default() };
    let pins = arguments.pin.as_deref().map(Pins::open).transpose().map_err(CaptureError::from)?;
    let mut table = load(object, arguments, pins.as_ref(), timeouts)?;
    // What an agent had attached that was killed while it began is gone by now.
    let selected = Selected::of(arguments).await?;
    // Landlock is of a thread and those that it starts: outputs have theirs from when they are opened.
    let (reach, unconfined) = confine(arguments, saves);
    let console = Console::on_standard_error(arguments.verbosity());
    let mut sinks = Sinks::open(&arguments.outputs, columns, Pace::Live, console)?;
    unconfined.iter().for_each(|missing| sinks.warn(missing));
    let scrapes = match arguments.metrics {
        Some(address) => {
            let scrapes = Scrapes::listen(address).await?;
            let address = scrapes.address()?;
            let open = if address.ip().is_loopback() { "" } else { ", for everybody who reaches this address" };
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
    // What goes on is not lost.
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
    // It serves until this is dropped.
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
    // What is wrong until here is told on the terminal as it is.
    if arguments.tui {
        pipeline.sinks().enter_screen()?;
    }
    give_up_capabilities(&mut table, how, &attached)?;
    // In all threads, also those of the outputs, which were started before.
    filter_calls(arguments.sandbox).iter().for_each(|missing| pipeline.warn(missing));
    service.ready(&pipeline.status());
    let backlog = Arc::new(Queue::new(shares.backlog));
    let (over, ended) = unbounded_channel();
    let status = Arc::new(Status::new(pipeline.status()));
    let service = Arc::new(service);
    let KernelTable { programs, table } = table;
    let metered = selected.go_on(how, programs, pins, attached);
    // From here on threads have what capabilities are left.
    let (drain, returns) = Drain::begin(table, arguments.interval, Arc::clone(&backlog), Over::new(&over))?;
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
    let flows = flows.begin(Arc::clone(&backlog), Over::new(&over))?;

    let events = Events::of_screen(arguments.tui);
    let mut serving = Serving { metered, backlog, status, service, events, dues, ended };
    serving.serve(arguments.interval, &mut stop).await;
    closing.begin();
    serving.service.stopping();
    // What is left to do may take a while: people see their terminal again, and then the summary.
    serving.backlog.force(Message::LeaveScreen);
    // Detach first, then count what came until then: nothing is received that is not in the summary. What is pinned stays
    // attached, and counts for the next agent.
    let pins = serving.metered.end();
    let drained = drain.end();
    // Metrics are served until the end.
    let (finished, kept) = spawn_blocking(move || flows.join()).await.context("the thread of the flows")?;
    // What was learnt is kept whatever became of the rows.
    let learners = finished.learners.context("the pipeline was given learners")?;
    if let Some(path) = kept.file() {
        learners.save(path)?;
    }
    let mut table = drained?;
    finished.outputs?;
    if !finished.conserved {
        bail!("the account does not balance: packets received are not those in flows and those skipped");
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

/// Where learning begins: with the file where there is one, else with what ships with flowml, unless from nothing.
fn begin(arguments: &Run) -> Begin<'_> {
    match &arguments.model {
        _ if arguments.learn => Begin::Anew,
        Some(path) if is_file(path) && path.exists() => Begin::File(path),
        Some(path) => Begin::Builtin(Builtin::named(path).unwrap_or_else(|| builtin(arguments))),
        None => Begin::Builtin(builtin(arguments)),
    }
}

/// With which model learners begin that no file has.
fn origin(arguments: &Run) -> Option<Origin> {
    let has_file = arguments.model.as_deref().is_some_and(is_file);
    Origin::of(begin(arguments)).filter(|_| !has_file)
}

/// What ships with flowml for what is seen.
const fn builtin(arguments: &Run) -> Builtin {
    match arguments.direction {
        Direction::Ingress => Builtin::Ingress,
        Direction::Both => Builtin::Both,
    }
}

/// Loads the programs, over the table that is pinned, if there is one.
fn load(object: &[u8], arguments: &Run, pins: Option<&Pins>, timeouts: Timeouts) -> Result<KernelTable, CaptureError> {
    let (capacity, payload, boundaries) = (arguments.flow_capacity, arguments.content.limit(), timeouts.boundaries());
    match pins {
        Some(pins) => KernelTable::open(object, pins, capacity, payload, boundaries),
        None => KernelTable::load(object, capacity, payload, boundaries),
    }
}

/// What goes through the backlog, in its order.
pub(super) enum Message {
    /// An epoch, and how long it took to copy it. With an interval that ends, how late that is.
    Drained { copied: Box<Copied>, took: Duration, late: Option<Duration>, clock: Clock },
    /// There was no room for an epoch.
    Held,
    /// What people may want to know.
    Notice(String),
    /// What people should know.
    Warning(String),
    /// What is metered from now on.
    Interfaces(Vec<InterfaceReport>),
    /// A key of the screen.
    Event(Event),
    /// What is due with the file of the model.
    Model(Due),
    /// The screen is to end.
    LeaveScreen,
}

/// From here on this process needs what draining, attaching and detaching need, and CAP_DAC_OVERRIDE, where it has that, for files:
/// what root may write at the start it may write at the end.
fn give_up_capabilities(table: &mut KernelTable, how: How, attached: &[Attachment]) -> Result<()> {
    let detaching = attached.iter().map(Attachment::needs);
    let needed = table.needs()? | how.needs() | CapabilitySet::DAC_OVERRIDE;
    let needed = detaching.fold(needed, |all, needed| all | needed);
    capabilities::keep(needed).context("cannot give up the capabilities that are needed no more")
}

/// What is served while the stages work.
struct Serving {
    metered: Metered,
    backlog: Arc<Queue<Message>>,
    status: Arc<Status>,
    service: Arc<Service>,
    events: Events,
    dues: Dues,
    /// Receives a message when a stage has ended or asks for the end of the run.
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

    /// Passes on what has become of interfaces, of which these were metered before.
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

/// What people are told of the folder at the begin.
fn describe_pins(pins: &Pins, earlier: &Account) -> String {
    let folder = pins.folder().display();
    let taken = counted(earlier.received.packets, "packet");
    match (earlier.received.packets, earlier.unreported.packets) {
        (0, _) => format!("pinned in {folder}: packets are counted while no agent runs"),
        (_, 0) => format!("pinned in {folder}: earlier agents have taken {taken}"),
        (_, lost) => {
            let lost = counted(lost, "packet");
            format!(
                "pinned in {folder}: earlier agents have taken {taken} ({lost} by agents that did not end in order)"
            )
        }
    }
}

/// And at the end.
fn describe_kept(pins: &Pins) -> String {
    let folder = pins.folder().display();
    format!(
        "flowml: the programs stay attached and count: start with '--pin {folder}' to go on, or end them with 'flowml unpin {folder}'\n"
    )
}

/// The clock by which packets are timed, at this moment.
pub(super) fn clock() -> Clock {
    Clock::new(monotonic_ns(), realtime_ns())
}
