//! Processes drained epochs of live runs and captures: sessions, host windows, records, models, sinks.
//!
//! The flows of a capture, written as CSV:
//!
//! ```
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use flowml_user::engine::Pipeline;
//! use flowml_user::engine::epochs::Epochs;
//! use flowml_user::engine::offline::{Offline, count_whole, table};
//! use flowml_user::export::{Pace, Sinks};
//! use flowml_user::features::FlowColumns;
//! use flowml_user::session::Timeouts;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("flows.csv");
//! let target = format!("csv={}", path.display()).parse()?;
//! let sinks = Sinks::open(&[target], FlowColumns::Headers, Pace::Offline)?;
//! let timeouts = Timeouts::default();
//! let pipeline = Pipeline::new(timeouts, Vec::new(), None, sinks, 0, 0);
//! let table = table().with_boundaries(timeouts.boundaries());
//! let mut offline = Offline::new(table, pipeline, Epochs::new(Duration::from_secs(1), timeouts.idle))?;
//! let wrong = count_whole(Path::new("../tests/corpus/ethernet.pcap"), &mut offline, |_frames| {})?;
//! let finished = offline.finish()?;
//! finished.outputs?;
//! assert!(wrong.problems.is_empty() && finished.conserved);
//! assert!(std::fs::read_to_string(path)?.lines().count() > 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashMap;
use std::time::Duration;

use flowml_common::packet::Skipped;
use flowml_common::table::Count;
use flowml_common::tunnel::TunnelCounts;

#[cfg(feature = "live")]
use crate::export::Level;
use crate::export::{InterfaceReport, SinkError, Sinks, Totals};
use crate::features::{FlowColumns, FlowRow, HOST_FEATURES, HostWindow, HostWindows, LearnerRows};
use crate::incident::Incidents;
use crate::process::words::counted;
use crate::record::{Clock, Inspector};
use crate::sequential::SequentialTests;
use crate::session::{Left, Sessions, Timeouts};

mod absorb;
mod ahead;
mod alarms;
mod budget;
mod clocks;
#[cfg(feature = "live")]
mod continuing;
#[cfg(feature = "live")]
mod drain;
#[cfg(feature = "live")]
mod early;
mod eligibility;
mod ending;
pub mod epochs;
mod fleet;
#[cfg(feature = "live")]
mod interfaces;
mod intervals;
mod judging;
#[cfg(feature = "live")]
mod kept;
mod lasting;
pub mod learners;
#[cfg(feature = "live")]
pub mod live;
#[cfg(feature = "live")]
mod message;
mod minute;
pub mod offline;
#[cfg(feature = "live")]
mod options;
#[cfg(feature = "live")]
mod overload;
mod processing;
mod quiet;
#[cfg(feature = "live")]
mod shares;
mod shed;
#[cfg(feature = "live")]
mod stages;
#[cfg(feature = "live")]
mod state;
#[cfg(feature = "live")]
mod stop;
#[cfg(test)]
mod tests;
pub mod whole;

pub use alarms::{AlarmLevel, FalseAlarms};
pub use fleet::FleetModel;
#[cfg(feature = "live")]
pub use options::{Direction, Hangup, MEMORY, Options, Reread, Rereads};

use lasting::Lasting;
use learners::Learners;
#[cfg(feature = "live")]
use shares::Shares;
use shed::Shed;

/// The length of a host window.
pub const WINDOW: Duration = Duration::from_secs(2);

/// Maximum number of interfaces in the summary, as new ones keep appearing on container hosts.
#[cfg(feature = "live")]
const MOST_NAMED: usize = 1024;

/// All processing after the capture.
pub struct Pipeline {
    sessions: Sessions,
    windows: HostWindows,
    learners: Option<Learners>,
    inspector: Option<Inspector>,
    /// Whether flows inside of tunnels are metered.
    tunnels: bool,
    rows_of_flows: LearnerRows<FlowRow>,
    rows_of_hosts: LearnerRows<HostWindow>,
    tests: SequentialTests,
    incidents: Incidents,
    sinks: Sinks,
    interfaces: Vec<InterfaceReport>,
    /// For interfaces whose clock differs from that of the capture: the shift added to their times, ns.
    shifts: HashMap<u32, i64>,
    totals: Totals,
    /// Packets and bytes in records, including lost records and those left out.
    recorded: Count,
    shed: Shed,
    /// Whether the processed epochs are of this run. Epochs counted while no agent ran may span hours. They give
    /// records, but no host windows and no rates.
    watches: bool,
    /// Whether packets found the flow table full recently.
    table_full: Lasting,
    /// The traffic since the last interval ended.
    interval: Interval,
    /// The start of the current interval, ns of the capture's clock.
    interval_began_ns: u64,
    /// The time until which statistics were sent, ns of the capture's clock.
    minute_began_ns: Option<u64>,
}

/// The data of an interval, which may have several drains.
#[derive(Default)]
struct Interval {
    received: Count,
    skipped: [Count; Skipped::COUNT],
    tunnels: TunnelCounts,
    flows_new: u64,
    occupancy: f64,
    drains: Vec<Duration>,
    late: Duration,
}

impl Pipeline {
    /// A pipeline for the flows of `interfaces` from `start_ns` of the capture's clock on. It scores with `learners` if
    /// there are any, and writes to `sinks`. Large windows are sampled by `seed`.
    #[must_use]
    pub fn new(
        timeouts: Timeouts,
        interfaces: Vec<InterfaceReport>,
        learners: Option<Learners>,
        sinks: Sinks,
        start_ns: u64,
        seed: u64,
    ) -> Self {
        let totals = Totals { interfaces: interfaces.clone(), ..Totals::default() };
        Self {
            sessions: Sessions::new(timeouts),
            windows: HostWindows::new(WINDOW).with_seed(seed),
            learners,
            inspector: None,
            tunnels: false,
            rows_of_flows: LearnerRows::new(FlowColumns::Headers.features()),
            rows_of_hosts: LearnerRows::new(HOST_FEATURES.iter().copied()),
            tests: SequentialTests::new(seed),
            incidents: Incidents::starting_now(),
            sinks,
            interfaces,
            shifts: HashMap::new(),
            totals,
            recorded: Count::default(),
            shed: Shed::new(seed),
            watches: true,
            table_full: Lasting::default(),
            interval: Interval::default(),
            interval_began_ns: start_ns,
            minute_began_ns: None,
        }
    }

    /// Derives columns from the first payload bytes of each flow with `inspector`. Models and sinks must have its
    /// columns.
    #[must_use]
    pub fn with_inspector(mut self, inspector: Option<Inspector>) -> Self {
        self.rows_of_flows = LearnerRows::new(FlowColumns::of(inspector.as_ref()).features());
        self.inspector = inspector;
        self
    }

    /// Sets whether flows inside of tunnels are metered. The rows have the columns of tunnels then, and sinks must have
    /// them.
    #[must_use]
    pub fn with_tunnels(mut self, tunnels: bool) -> Self {
        self.tunnels = tunnels;
        self.totals.tunnels = tunnels.then(TunnelCounts::default);
        self
    }

    /// Limits the memory of open sessions, and of those that end together.
    #[must_use]
    #[cfg(feature = "live")]
    fn within(mut self, shares: Shares) -> Self {
        self.sessions = self.sessions.with_capacity(shares.sessions).with_most_at_once(shares.judged);
        self.sinks = self.sinks.with_room(shares.outputs);
        self
    }

    /// Sets the level of overload.
    #[cfg(feature = "live")]
    fn leave_out(&mut self, level: Level) {
        self.shed.level = level;
        self.sessions.set_keeps_slight(!self.shed.leaves_out(Level::Sessions));
        if let Some(learners) = &mut self.learners {
            // The reasons of host windows are kept, as they show the source of an incident.
            learners.flows.give_reasons(!self.shed.leaves_out(Level::Reasons));
        }
    }

    /// Replaces the metered interfaces. The summary also names the earlier ones.
    #[cfg(feature = "live")]
    fn set_interfaces(&mut self, interfaces: Vec<InterfaceReport>) {
        let named = &mut self.totals.interfaces;
        for interface in &interfaces {
            if named.len() < MOST_NAMED && !named.contains(interface) {
                named.push(interface.clone());
            }
        }
        self.interfaces = interfaces;
    }

    /// Sets whether the next epochs are of this run.
    #[cfg(feature = "live")]
    const fn set_watches(&mut self, watches: bool) {
        self.watches = watches;
    }

    /// Adds the duration of a drain, and its lateness at the end of an interval.
    pub fn drained(&mut self, took: Duration, late: Option<Duration>) {
        self.interval.drains.push(took);
        self.interval.late = self.interval.late.max(late.unwrap_or_default());
    }

    /// Starts again at `at_ns` of a clock that was set. Open sessions belong to the time before, and end.
    pub fn begin(&mut self, at_ns: u64, clock: Clock) {
        self.end_sessions(clock);
        self.end_incidents(clock);
        self.send_statistics(self.interval_began_ns, clock);
        self.minute_began_ns = None;
        self.tests.forget();
        self.windows.forget();
        self.shifts.clear();
        self.interval_began_ns = at_ns;
    }

    /// Sets the shift of an interface's clock: packet times are those of its clock plus `shift_ns`. Records have the
    /// times without it. The shift applies until the next [`begin`](Self::begin).
    pub fn shift(&mut self, interface: u32, shift_ns: i64) {
        self.shifts.insert(interface, shift_ns);
    }

    /// Skips `intervals` intervals of `silence_ns` in total, without packets, open windows or timers that are due.
    pub fn pass(&mut self, intervals: u64, silence_ns: u64) {
        self.windows.pass(silence_ns);
        if let Some(learners) = &mut self.learners {
            learners.flows.pass(intervals);
            learners.hosts.pass(intervals);
        }
    }

    /// The time of the next timer, ns of the capture's clock. Before this time an interval without packets changes only
    /// the windows.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.sessions.next_due_ns()
    }

    /// Number of open sessions.
    #[must_use]
    #[cfg(feature = "live")]
    fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The state of the run in one line, for a service manager.
    #[must_use]
    pub fn status(&self) -> String {
        let (received, sessions) = (self.totals.received.packets, self.sessions.len() as u64);
        let incidents = self.incidents.open().count() as u64;
        let counts = [(received, "packet"), (sessions, "open session"), (incidents, "open incident")];
        let counts = counts.map(|(count, of)| counted(count, of));
        let overload = self.shed.level.step().map_or_else(String::new, |step| format!("; overload: {}", step.means));
        format!("metering {}: {}{overload}", InterfaceReport::list(&self.interfaces), counts.join(", "))
    }

    /// The models, if any.
    pub fn learners(&mut self) -> Option<&mut Learners> {
        self.learners.as_mut()
    }

    /// The sinks.
    pub const fn sinks(&mut self) -> &mut Sinks {
        &mut self.sinks
    }

    /// Shows a notice.
    pub fn notice(&mut self, text: &str) {
        self.sinks.notice(text);
    }

    /// Shows a warning.
    pub fn warn(&mut self, text: &str) {
        self.sinks.warn(text);
    }
}

/// The result of a pipeline.
pub struct Finished {
    /// The models that the pipeline was given, after training.
    pub learners: Option<Learners>,
    /// Whether packet accounting is consistent.
    pub conserved: bool,
    /// The sessions left for the next run.
    pub left: Left,
    /// An error if rows were lost.
    pub outputs: Result<(), SinkError>,
}
