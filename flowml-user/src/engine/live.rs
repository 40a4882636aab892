//! The live run: attaches to interfaces, and runs its stages until a signal or the end of the duration.
//!
//! [`Loaded`] has the kernel programs and has changed nothing, [`Attached`] meters. The caller opens outputs and
//! restricts the process between these steps. The drain (`super::drain`) and the processing of its epochs
//! (`super::stages`) have their own threads. This thread serves signals, observers and the service manager.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flowml_common::handover::Account;
use flowml_common::table::Count;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::Pipeline;
use super::drain::Drain;
use super::interfaces::{Beginning, How, InterfaceEvent, Metered, Selected, reports};
use super::kept::{Dues, KeptModel};
use super::lasting::Lasting;
use super::learners::Learners;
use super::message::{EndRequest, Message};
use super::options::{Options, Rereads};
use super::overload::{Overload, Speed};
use super::shares::Shares;
use super::stages::{Flows, Status};
use super::state::{Found, KeptState, Moment, Origin};
use super::stop::Stop;
use crate::capture::attach::Attachment;
use crate::capture::filter::PacketFilter;
use crate::capture::kernel::{KernelTable, monotonic_ns};
use crate::capture::pins::Pins;
use crate::capture::takeover::keep;
use crate::capture::{CaptureError, UNKNOWN_PREEMPTION};
use crate::export::{Began, Closing, InterfaceReport, Sinks};
use crate::features::FlowColumns;
use crate::object;
use crate::process::capabilities::{self, CapabilitySet};
use crate::process::kernel::Preemption;
use crate::process::priority::Nice;
use crate::process::queue::Queue;
use crate::process::sandbox::Reach;
use crate::process::service::Service;
use crate::process::words::counted;
use crate::record::Inspector;
use crate::session::Sessions;

/// Interval between checks for detached programs, as the kernel does not report detaching.
const LOOK: Duration = Duration::from_secs(1);

/// The nice values of the drain and of this thread are lower than those of the other threads by this. On a busy host
/// the drain then gets a CPU before the flow table is full, and metrics are served. Both need little CPU time. A scraper
/// decides how much this thread needs, so it comes after the drain.
const DRAIN_BEFORE: i32 = 10;
const SERVING_BEFORE: i32 = 5;

/// The kernel programs are loaded, and the interfaces are known. Nothing is attached.
pub struct Loaded {
    options: Options,
    stop: Stop,
    preemption: Preemption,
    pins: Option<Pins>,
    table: KernelTable,
    selected: Selected,
}

/// The outputs, models and restrictions of a run.
pub struct Outfit {
    /// The outputs and observers.
    pub sinks: Sinks,
    /// The patterns to search for in payload.
    pub inspector: Option<Inspector>,
    /// The models.
    pub learners: Learners,
    /// The files that the sandbox allows; None without a sandbox.
    pub reach: Option<Reach>,
    /// Reads the options again, if they are in a file.
    pub rereads: Option<Rereads>,
}

/// The programs are attached and count. Nothing is drained yet.
pub struct Attached {
    options: Options,
    stop: Stop,
    shares: Shares,
    how: How,
    table: KernelTable,
    selected: Selected,
    pins: Option<Pins>,
    attached: Vec<Attachment>,
    pipeline: Pipeline,
    kept: KeptModel,
    dues: Dues,
    state: Option<KeptState>,
    closing: Closing,
    /// Packets that earlier agents counted and did not report.
    lost: Count,
    /// The priority of the threads without one of their own.
    usual: Nice,
}

/// The end of a run.
pub struct Ended {
    /// The models after training.
    pub learners: Learners,
    /// The folder of pins, if the programs stay attached.
    pub pins: Option<PathBuf>,
}

impl Loaded {
    /// Loads the programs and finds the interfaces. From here on every signal ends the run properly.
    ///
    /// # Errors
    /// If metering cannot start.
    pub async fn new(options: Options) -> Result<Self> {
        // Before anything is attached.
        let stop = Stop::new(options.hangup)?;
        let object = object::embedded().ok_or(CaptureError::NoObject)?;
        // Before the outputs are opened, so that files are not truncated if the run cannot start.
        let preemption = Preemption::of_kernel();
        if preemption == Preemption::Possible {
            return Err(CaptureError::Preemptible.into());
        }
        let pins = options.pin.as_deref().map(Pins::open).transpose().map_err(CaptureError::from)?;
        let table = load(object, &options, pins.as_ref())?;
        // The attachments of an agent that was killed during its start have been removed by now.
        let selected = Selected::of(&options).await?;
        Ok(Self { options, stop, preemption, pins, table, selected })
    }

    /// Attaches the programs, continues what an earlier run left, and drops the capabilities that are no longer needed.
    ///
    /// # Errors
    /// If an interface cannot be metered.
    pub fn attach(self, outfit: Outfit) -> Result<Attached> {
        let Self { options, mut stop, preemption, pins, mut table, selected } = self;
        let Outfit { mut sinks, inspector, learners, reach, rereads } = outfit;
        let (columns, timeouts) = (FlowColumns::of(inspector.as_ref()), options.timeouts);
        if preemption == Preemption::Unknown {
            sinks.notice(UNKNOWN_PREEMPTION);
        }
        let size = table.size();
        sinks.notice(&format!(
            "flow table: {} flows on each of {} CPUs, {:.0} MiB of locked memory",
            size.shape.entries(),
            size.cpus,
            size.bytes() as f64 / f64::from(1 << 20)
        ));
        let how = How::of(&options);
        how.load(&mut table.programs);
        let Beginning { mut attached, events } = selected.begin(&mut table.programs, how, pins.as_ref())?;
        for event in events {
            match event {
                InterfaceEvent::Notice(text) => sinks.notice(&text),
                InterfaceEvent::Warning(text) => sinks.warn(&text),
            }
        }
        let pins = pins.map(|pins| keep(pins, &table, &mut attached)).transpose()?;
        let shares = Shares::of(options.memory_limit(), options.payload, options.tunnels.is_some());
        let (state, found) = match &options.state {
            Some(path) => {
                let moment = Moment::new(table.identity(), table.drains());
                let sessions = Sessions::new(timeouts).with_capacity(shares.sessions).with_most_at_once(shares.judged);
                KeptState::read(path, moment, origin(&options), columns, sessions)
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
        let learners = known.map_or(learners, |known| known.with_alarms(options.alarms));
        let learners = learners.with_statistics(options.statistics);
        learners.without_statistics().iter().for_each(|text| sinks.notice(text));
        let reports = reports(&attached);
        let began = Began { interfaces: reports.clone(), entries: size.shape.entries(), cpus: size.cpus };
        let closing = Closing::default();
        let sinks = sinks.with_closing(closing.clone());
        let learners = Some(learners.beside());
        let mut pipeline = Pipeline::new(timeouts, reports, learners, sinks, monotonic_ns(), rand::random())
            .with_inspector(inspector)
            .with_tunnels(options.tunnels.is_some())
            .resume(open)
            .after(earlier)
            .within(shares);
        if let Some(over) = over {
            pipeline.end_over(over);
        }
        stop.after(options.duration);
        let (kept, dues) = KeptModel::new(&options, columns, reach, rereads)?;
        kept.offer(&mut pipeline, false);
        pipeline.sinks().begin(&began).map_err(anyhow::Error::from_boxed)?;
        let usual = Nice::of_this_thread();
        // Raising a priority may need a capability. The drain is started by this thread, and has its priority.
        usual.before(DRAIN_BEFORE).apply();
        give_up_capabilities(&mut table, how, &attached)?;
        Ok(Attached {
            options,
            stop,
            shares,
            how,
            table,
            selected,
            pins,
            attached,
            pipeline,
            kept,
            dues,
            state,
            closing,
            lost,
            usual,
        })
    }
}

impl Attached {
    /// The outputs and observers.
    pub const fn sinks(&mut self) -> &mut Sinks {
        self.pipeline.sinks()
    }

    /// Meters until something ends the run, and saves the models to their file periodically and at the end, if there is
    /// one. A notification through `wakes` wakes the observers.
    ///
    /// # Errors
    /// If an output failed, or the packet accounting is not consistent.
    pub async fn run(self, wakes: &Notify) -> Result<Ended> {
        let Self { options, mut stop, shares, how, table, selected, pins, attached, pipeline, .. } = self;
        let Self { kept, dues, state, closing, lost, usual, .. } = self;
        let service = Service::of_environment();
        service.ready(&pipeline.status());
        let backlog = Arc::new(Queue::new(shares.backlog));
        let (over, ended) = unbounded_channel();
        let status = Arc::new(Status::new(pipeline.status()));
        let service = Arc::new(service);
        let KernelTable { programs, table } = table;
        let metered = selected.go_on(how, programs, pins, attached);
        // Threads started from here on have only the remaining capabilities.
        let (drain, returns) = Drain::begin(table, options.interval, Arc::clone(&backlog), EndRequest::new(&over))?;
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
            speed: Speed::default(),
            held: Lasting::default(),
            unended: None,
            most_open: 0,
        };
        let flows = flows.begin(Arc::clone(&backlog), EndRequest::new(&over), usual)?;

        let mut serving = Serving { metered, backlog, status, service, wakes, dues, ended };
        serving.serve(options.interval, &mut stop).await;
        closing.begin();
        serving.service.stopping();
        // The remaining work may take a while, so a terminal UI is closed first. The summary follows.
        serving.backlog.force(Message::Ending);
        // Detach first, then drain the packets that were counted until then, so that every received packet is in the
        // summary. Pinned programs stay attached, and count for the next agent.
        let pins = serving.metered.end();
        let drained = drain.end();
        // The caller may serve something until the end, for example metrics.
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
        Ok(Ended { learners, pins: pins.map(|pins| pins.folder().to_owned()) })
    }
}

/// The origin of models without a file.
fn origin(options: &Options) -> Option<Origin> {
    Origin::of(options.begin()).filter(|_| options.model_file().is_none())
}

/// Loads the programs, with the pinned table if there is one.
fn load(object: &[u8], options: &Options, pins: Option<&Pins>) -> Result<KernelTable, CaptureError> {
    let (capacity, payload, tunnels) = (options.flow_capacity, options.payload, options.tunnels);
    let (boundaries, filter) = (options.timeouts.boundaries(), options.filter.as_ref().map(PacketFilter::filter));
    match pins {
        Some(pins) => KernelTable::open(object, pins, capacity, payload, tunnels, boundaries, filter),
        None => KernelTable::load(object, capacity, payload, tunnels, boundaries, filter),
    }
}

/// Drops all capabilities except those for draining, attaching and detaching, and CAP_DAC_OVERRIDE for files: a file
/// that root may write at the start can be written at the end.
fn give_up_capabilities(table: &mut KernelTable, how: How, attached: &[Attachment]) -> Result<()> {
    let detaching = attached.iter().map(Attachment::needs);
    let needed = table.needs()? | how.needs() | CapabilitySet::DAC_OVERRIDE;
    let needed = detaching.fold(needed, |all, needed| all | needed);
    capabilities::keep(needed).context("cannot drop the capabilities that are no longer needed")
}

/// Serves interfaces, observers and the service manager while the stages work.
struct Serving<'a> {
    metered: Metered,
    backlog: Arc<Queue<Message>>,
    status: Arc<Status>,
    service: Arc<Service>,
    wakes: &'a Notify,
    dues: Dues,
    /// Receives a message when a stage has ended, or requests the end of the run.
    ended: UnboundedReceiver<()>,
}

impl Serving<'_> {
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
                    let events = self.metered.follow(changes).await;
                    self.report(events, &before);
                }
                _ = looks.tick() => {
                    let before = self.metered.reports();
                    let events = self.metered.look_after().await;
                    self.report(events, &before);
                }
                () = self.wakes.notified() => self.backlog.force(Message::Wake),
            }
        }
    }

    /// Passes on messages about interfaces, and the metered interfaces if they differ from `before`.
    fn report(&self, events: Vec<InterfaceEvent>, before: &[InterfaceReport]) {
        for event in events {
            self.backlog.force(match event {
                InterfaceEvent::Notice(text) => Message::Notice(text),
                InterfaceEvent::Warning(text) => Message::Warning(text),
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
            format!("pinned in {folder}: earlier agents drained {taken} (at most {lost} are in no record)")
        }
    }
}
