//! Processes drained epochs of live runs and captures: sessions, host windows, records, models, sinks.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use flowml_common::counts::Counted;
use flowml_common::flow::Sender;
#[cfg(feature = "live")]
use flowml_common::handover::Account;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, Head};
use ndarray::Array2;

use crate::export::{InterfaceReport, IntervalReport, Level, Shedding, SinkError, Sinks, Totals};
use crate::features::{Feature, FlowColumns, FlowRow, HOST_FEATURES, HostWindows, Hosts, row};
use crate::incident::Incidents;
use crate::learning::{FeedbackClass, Verdict};
use crate::process::words::counted;
use crate::record::{Clock, FlowRecord, Inspector};
use crate::sequential::{Finding, SequentialTests};
use crate::session::{Ended, Kept, Left, Sessions, Timeouts, informed};

mod ahead;
mod alarms;
mod budget;
mod clocks;
#[cfg(feature = "live")]
mod drain;
mod eligibility;
pub mod epochs;
#[cfg(feature = "live")]
mod interfaces;
#[cfg(feature = "live")]
mod kept;
mod lasting;
pub mod learners;
#[cfg(feature = "live")]
pub mod live;
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
#[cfg(feature = "live")]
pub use options::{Direction, Hangup, MEMORY, Options, Reread, Rereads};

use lasting::Lasting;
use learners::Learners;
#[cfg(feature = "live")]
use shares::Shares;
use shed::Shed;
#[cfg(feature = "live")]
use state::{KeptState, Open, Over};

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
    features: Vec<Feature<FlowRow>>,
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
}

/// The data of an interval, which may have several drains.
#[derive(Default)]
struct Interval {
    received: Count,
    skipped: [Count; Skipped::COUNT],
    flows_new: u64,
    occupancy: f64,
    drains: Vec<Duration>,
    late: Duration,
}

/// Number of sessions that end together because there was no time to save them. The memory of so few stays in the
/// processor's cache.
#[cfg(feature = "live")]
const UNSAVED_AT_ONCE: usize = 1024;

/// Flows that end together, and the number of them that get no record at the end of the run.
#[derive(Default)]
struct Last {
    together: usize,
    /// Number of flows processed.
    place: usize,
    aggregated: u64,
    without: u64,
    sessions_without: u64,
}

impl Last {
    fn of(together: usize) -> Self {
        Self { together, ..Self::default() }
    }
}

impl Pipeline {
    /// A pipeline for the flows of `interfaces` from `start_ns` of the capture's clock on. It scores with `learners` if
    /// there are any, and writes to `sinks`. Large windows are sampled by `seed` ([`HostWindows::with_seed`]).
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
            features: FlowColumns::Headers.features().collect(),
            tests: SequentialTests::new(seed),
            incidents: Incidents::default(),
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
        }
    }

    /// Derives columns from the first payload bytes of each flow with `inspector`. Models and sinks must have its
    /// columns.
    #[must_use]
    pub fn with_inspector(mut self, inspector: Option<Inspector>) -> Self {
        self.features = FlowColumns::of(inspector.as_ref()).features().collect();
        self.inspector = inspector;
        self
    }

    /// Continues with the sessions that an earlier run left open.
    #[must_use]
    #[cfg(feature = "live")]
    fn resume(mut self, open: Option<Open>) -> Self {
        if let Some(Open { sessions, windows, tests, incidents, left }) = open {
            (self.sessions, self.windows, self.tests, self.incidents) = (sessions, windows, *tests, *incidents);
            self.totals.taken_over = left;
        }
        self
    }

    /// Makes records of sessions that an earlier run left and that cannot continue.
    #[cfg(feature = "live")]
    fn end_over(&mut self, Over { mut sessions, clock, left }: Over) {
        self.totals.taken_over = left;
        loop {
            let ended = sessions.flush();
            if ended.is_empty() {
                return;
            }
            ended.iter().for_each(|ended| self.record(ended, None, clock));
        }
    }

    /// Continues after earlier agents with this account.
    #[must_use]
    #[cfg(feature = "live")]
    fn after(mut self, earlier: Option<Account>) -> Self {
        self.totals.earlier = earlier;
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

    /// Processes the counts of one epoch. `occupancy` is the fill level of the fullest CPU's table, 0–1.
    pub fn absorb<'a>(&mut self, head: &Head, occupancy: f64, flows: impl IntoIterator<Item = Counted<'a>>) {
        self.count(head, occupancy);
        let (windows, tests, sinks, shed) = (&mut self.windows, &mut self.tests, &mut self.sinks, &mut self.shed);
        // Epochs queued at the end of the run are only counted.
        let hurries = sinks.closing().merges_intervals();
        let watches = self.watches;
        if !watches {
            tests.look_away();
        }
        // Without models there are no anomalies to join.
        let mut incidents = self.learners.is_some().then_some(&mut self.incidents);
        let (in_flows, flows_new) = (&mut self.totals.in_flows, &mut self.interval.flows_new);
        self.sessions.absorb_or_pass_by(flows, |part, standing, kept| {
            in_flows.add(part.stats.packets(), part.stats.frame_bytes());
            *flows_new += u64::from(standing.new);
            let has_windows = match kept {
                Kept::InSession => {
                    if watches {
                        windows.add(part, standing);
                    }
                    watches
                }
                Kept::Not => {
                    shed.aggregate(&part.key, &part.stats, standing.initiator);
                    if hurries || !watches {
                        return;
                    }
                    windows.add_slight(part, standing)
                }
            };
            if watches {
                tests.observe(part, standing);
            }
            // The sender of an ICMP error is no peer of the host that it informs.
            if let Some(incidents) = incidents.as_mut().filter(|_| has_windows)
                && informed(&part.key, &part.stats).is_none()
            {
                incidents.link(standing.addresses(&part.key));
            }
            sinks.part(part, standing);
        });
        if self.shed.leaves_out(Level::Records) {
            // Displaced sessions need not wait for the end of the interval.
            for ended in self.sessions.take_slight() {
                self.tests.ended(std::slice::from_ref(&ended));
                self.shed.aggregate_ended(&ended);
            }
        }
    }

    fn count(&mut self, head: &Head, occupancy: f64) {
        self.totals.drains += 1;
        self.interval.occupancy = self.interval.occupancy.max(occupancy);
        for received in [&mut self.totals.received, &mut self.interval.received] {
            received.add(head.received.packets, head.received.bytes);
        }
        for skipped in [&mut self.totals.skipped, &mut self.interval.skipped] {
            add_all(skipped, &head.skipped);
        }
        add_all(&mut self.totals.overflow, &head.overflow);
        self.totals.boundaries_lost += head.boundaries_lost;
    }

    /// Adds the duration of a drain, and its lateness at the end of an interval.
    pub fn drained(&mut self, took: Duration, late: Option<Duration>) {
        self.interval.drains.push(took);
        self.interval.late = self.interval.late.max(late.unwrap_or_default());
    }

    /// Ends an interval at `at_ns` of the capture's clock: scores hosts and the flows that have ended, and reports.
    ///
    /// Breaks if the run is to end because standard output was closed.
    pub fn end_interval(&mut self, at_ns: u64, clock: Clock) -> ControlFlow<()> {
        let elapsed = Duration::from_nanos(at_ns.saturating_sub(self.interval_began_ns));
        let hosts = self.windows.advance(at_ns);
        self.sessions.set_windows(|part, standing| self.windows.around(part, standing));
        let ended = self.sessions.expire(at_ns);
        if let Some(learners) = &mut self.learners {
            learners.expect_hosts(hosts.windows.len(), elapsed);
            learners.expect_flows(ended.len(), elapsed);
        }
        // This comes first, as rows that sequential tests report must not be used for training.
        self.tests.ended(&ended);
        let findings = self.tests.interval(at_ns);
        self.judge_hosts(&hosts, &findings, at_ns, clock);
        let mut last = Last::of(ended.len());
        self.end_flows(ended, &mut last, clock);
        self.end_further_flows(at_ns, &mut last, clock);
        self.print_last(&last);
        self.report_table_full(at_ns);
        self.report_events();
        self.interval_began_ns = at_ns;
        self.totals.duration += elapsed;
        let shedding = self.end_shedding(clock);
        let Interval { received, skipped, flows_new, occupancy, drains, late } = std::mem::take(&mut self.interval);
        self.sinks.interval(&IntervalReport {
            end_ms: clock.unix_ms(at_ns),
            clock,
            elapsed,
            interfaces: self.interfaces.clone(),
            received,
            skipped,
            flows_open: self.sessions.len() as u64,
            flows_new,
            occupancy,
            drains,
            late,
            level: self.shed.level,
            shedding,
            learners: self.learners.as_ref().map(Learners::reports).unwrap_or_default(),
            incidents: self.incidents.open().cloned().collect(),
        })
    }

    /// Processes the remaining flows in parts, if more have ended than are scored together.
    fn end_further_flows(&mut self, at_ns: u64, last: &mut Last, clock: Clock) {
        loop {
            let ended = self.sessions.expire(at_ns);
            if ended.is_empty() {
                return;
            }
            if let Some(learners) = &mut self.learners {
                learners.expect_flows(ended.len(), Duration::ZERO);
            }
            self.tests.ended(&ended);
            self.end_flows(ended, last, clock);
        }
    }

    /// Writes the aggregate records of an interval. Returns the counts of what was left out in it.
    fn end_shedding(&mut self, clock: Clock) -> Shedding {
        self.shed.overflow(self.sessions.take_overflow());
        let (aggregates, left_out) = self.shed.end_interval(clock);
        aggregates.into_iter().for_each(|aggregate| self.sinks.aggregate(aggregate));
        self.recorded.add(left_out.aggregated.packets, left_out.aggregated.bytes);
        self.totals.shedding.add(&left_out);
        left_out
    }

    /// Starts again at `at_ns` of a clock that was set. Open sessions belong to the time before, and end.
    pub fn begin(&mut self, at_ns: u64, clock: Clock) {
        self.end_sessions(clock);
        self.end_incidents(clock);
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

    /// The time of the next timer, ns of the capture's clock. Before it an interval without packets changes only the
    /// windows.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.sessions.next_due_ns()
    }

    fn judge_hosts(&mut self, hosts: &Hosts, findings: &[Finding], at_ns: u64, clock: Clock) {
        self.totals.hosts_left_out += hosts.left_out;
        let scored = self.sinks.closing().scores(hosts.windows.len());
        let verdicts = self.learners.as_mut().filter(|_| scored).map(|learners| {
            let vouched = eligibility::of_hosts(&self.incidents, findings, &hosts.windows);
            let rows = table(HOST_FEATURES, hosts.windows.iter());
            learners.hosts.observe(rows.view(), &vouched.eligibility, &vouched.hosts)
        });
        let judged: Vec<_> = hosts.windows.iter().zip(or_none(verdicts)).collect();
        for (window, verdict) in &judged {
            if verdict.as_ref().is_some_and(|verdict| verdict.class == Some(FeedbackClass::Benign)) {
                self.incidents.excuse(window.address, at_ns);
            }
        }
        self.incidents.testify(findings, at_ns);
        let events = self.incidents.observe(at_ns, judged.iter().map(|(window, verdict)| (*window, verdict.as_ref())));
        for (window, verdict) in judged {
            self.sinks.host(*window, clock, verdict);
        }
        for (state, incident) in events {
            self.sinks.incident(state, incident, clock);
        }
    }

    /// Makes records of flows that have ended, as far as time allows.
    fn end_flows(&mut self, mut ended: Vec<Ended>, last: &mut Last, clock: Clock) {
        if !self.sinks.closing().scores(last.together) {
            return self.end_last_flows(&ended, last, clock);
        }
        if self.shed.leaves_out(Level::Scores) {
            let slight: Vec<Ended> = ended.extract_if(.., |ended| ended.is_slight()).collect();
            if self.shed.leaves_out(Level::Records) {
                slight.iter().for_each(|ended| self.shed.aggregate_ended(ended));
            } else {
                self.shed.count(Level::Scores, slight.len() as u64);
                slight.iter().for_each(|ended| self.record(ended, None, clock));
            }
        }
        self.judge_flows(&ended, clock);
    }

    /// Makes records of flows that end with the run, until the time is up.
    fn end_last_flows(&mut self, ended: &[Ended], last: &mut Last, clock: Clock) {
        let closing = self.sinks.closing().clone();
        for ended in ended {
            let Count { packets, bytes } = ended.counted();
            let is_shed = self.shed.leaves_out(Level::Records) && ended.is_slight();
            if !is_shed && closing.records(last.place, packets) {
                self.record(ended, None, clock);
            } else if ended.is_slight() {
                self.shed.aggregate_ended(ended);
                last.aggregated += 1;
            } else {
                self.recorded.add(packets, bytes);
                last.without += 1;
                last.sessions_without += u64::from(!ended.continues);
            }
            last.place += 1;
        }
    }

    /// Makes records of flows with their verdicts.
    fn judge_flows(&mut self, ended: &[Ended], clock: Clock) {
        // A row is several times larger than the counts of a flow, so it is computed twice instead of stored.
        let rows = self.learners.is_some().then(|| {
            let rows = ended.iter().map(|ended| self.row(ended, clock));
            (table(&self.features, rows), eligibility::of_flows(&self.incidents, ended))
        });
        let verdicts = self.learners.as_mut().zip(rows).map(|(learners, (rows, vouched))| {
            learners.flows.observe(rows.view(), &vouched.eligibility, &vouched.hosts)
        });
        for (ended, verdict) in ended.iter().zip(or_none(verdicts)) {
            self.record(ended, verdict, clock);
        }
    }

    fn row(&self, ended: &Ended, clock: Clock) -> FlowRow {
        let content = self.inspector.as_ref().map(|inspector| inspector.inspect(ended));
        let clock = self.shifts.get(&ended.key.interface()).map_or(clock, |shift_ns| clock.without(*shift_ns));
        FlowRow::new(FlowRecord::new(ended, clock).with_content(content), ended.windows)
    }

    /// Makes the record of a flow.
    fn record(&mut self, ended: &Ended, verdict: Option<Verdict>, clock: Clock) {
        let anomaly = verdict.as_ref().is_some_and(|verdict| verdict.anomaly);
        let ends = [Sender::Lower, Sender::Upper].map(|end| ended.key.endpoint(end).address);
        let in_incident = anomaly && self.incidents.flow(ends);
        if anomaly && self.shed.leaves_out(Level::Reasons) {
            self.shed.count(Level::Reasons, 1);
        }
        let Count { packets, bytes } = ended.counted();
        self.recorded.add(packets, bytes);
        let row = self.row(ended, clock);
        self.sinks.flow(row, verdict, in_incident);
    }

    /// Ends all sessions, because time starts again or the run ends.
    fn end_sessions(&mut self, clock: Clock) {
        let mut last = Last::of(self.sessions.len());
        let mut ended = self.sessions.flush();
        self.end_tests(&ended);
        loop {
            self.end_flows(ended, &mut last, clock);
            ended = self.sessions.flush();
            if ended.is_empty() {
                break;
            }
            self.tests.ended(&ended);
        }
        self.print_last(&last);
        let _already_in_totals = self.end_shedding(clock);
    }

    /// Reports the number of flows without a record.
    fn print_last(&mut self, &Last { together, place, aggregated, without, sessions_without }: &Last) {
        self.sinks.without_records(without, sessions_without);
        if place > 0 {
            self.sinks.warn(&format!(
                "{together} flows end together with the run: they have no scores, {aggregated} of one packet are in aggregate \
                 records, and there was no time for the records of {without}"
            ));
        }
    }

    /// Collects the last findings of the sequential tests.
    fn end_tests(&mut self, ended: &[Ended]) {
        self.tests.ended(ended);
        self.incidents.testify(&self.tests.finish(self.interval_began_ns), self.interval_began_ns);
    }

    fn end_incidents(&mut self, clock: Clock) {
        for (state, incident) in self.incidents.finish() {
            self.sinks.incident(state, incident, clock);
        }
    }

    /// Reports when packets find the flow table full, and when that ends.
    fn report_table_full(&mut self, at_ns: u64) {
        let packets = self.interval.skipped[Skipped::TableFull as usize].packets;
        if packets > 0 && self.table_full.comes(packets, at_ns) {
            self.sinks.warn(
                "the flow table is full: packets of new flows are skipped as table_full until there is room; raise \
                 '--flow-capacity'",
            );
        } else if let Some(packets) = self.table_full.is_over(at_ns) {
            self.sinks.notice(&format!(
                "the flow table has room again: {} were skipped as table_full",
                counted(packets, "packet")
            ));
        }
    }

    fn report_events(&mut self) {
        let Some(learners) = &mut self.learners else { return };
        for (of, event) in learners.events() {
            let text = format!("{of}: {event}");
            if event.is_warning() { self.sinks.warn(&text) } else { self.sinks.notice(&text) }
        }
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

    /// Ends the run: all sessions become records, and the summary is written.
    #[must_use]
    pub fn finish(mut self, clock: Clock) -> Finished {
        self.sinks.end();
        self.end_sessions(clock);
        self.end_incidents(clock);
        self.close()
    }

    /// Ends the run and leaves open sessions to the next one. If that fails, they become records.
    #[must_use]
    #[cfg(feature = "live")]
    fn leave(mut self, state: &mut KeptState, clock: Clock) -> Finished {
        self.sinks.end();
        match state.leave(&mut self, clock) {
            Ok(left) => {
                self.totals.left_open = left;
                self.end_without_time(left.sessions, clock);
                self.close()
            }
            Err(error) => {
                self.warn(&format!("{error:#}; open sessions and incidents end"));
                self.end_sessions(clock);
                self.end_incidents(clock);
                self.close()
            }
        }
    }

    /// Ends the sessions for which there was no time to leave them to the next run; `left` others were.
    #[cfg(feature = "live")]
    fn end_without_time(&mut self, left: u64, clock: Clock) {
        let mut last = Last { place: usize::try_from(left).unwrap_or(usize::MAX), ..Last::default() };
        let mut number = 0;
        loop {
            let ended = self.sessions.take_unsaved(UNSAVED_AT_ONCE);
            if ended.is_empty() {
                break;
            }
            number += ended.len() as u64;
            self.end_last_flows(&ended, &mut last, clock);
        }
        if number == 0 {
            return;
        }
        self.sinks.without_records(last.without, last.sessions_without);
        let Last { aggregated, without, .. } = last;
        self.sinks.warn(&format!(
            "there was no time to save {} for the next run: {aggregated} of one packet are in aggregate records, and {without} \
             have no record",
            counted(number, "open session")
        ));
        let _already_in_totals = self.end_shedding(clock);
    }

    fn close(mut self) -> Finished {
        let unaccounted = |of: fn(&Count) -> u64| {
            let [came, went] = [
                [&self.totals.in_flows, &self.totals.taken_over.counted],
                [&self.recorded, &self.totals.left_open.counted],
            ];
            came.map(of).iter().sum::<u64>().abs_diff(went.map(of).iter().sum())
        };
        self.totals.unaccounted =
            Count { packets: unaccounted(|count| count.packets), bytes: unaccounted(|count| count.bytes) };
        (self.totals.incidents, self.totals.incidents_left_out) = self.incidents.totals();
        let conserved = self.totals.is_conserved();
        let left = self.totals.left_open;
        let outputs = self.sinks.finish(&self.totals);
        Finished { learners: self.learners, conserved, outputs, left }
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

/// The verdict of each row; none without a model.
fn or_none(verdicts: Option<Vec<Option<Verdict>>>) -> impl Iterator<Item = Option<Verdict>> {
    verdicts.unwrap_or_default().into_iter().chain(std::iter::repeat(None))
}

/// The feature matrix of flows or hosts, one row each.
fn table<T>(features: &[Feature<T>], units: impl ExactSizeIterator<Item = impl Borrow<T>>) -> Array2<f64> {
    let mut rows = Array2::zeros((units.len(), features.len()));
    for (mut place, unit) in rows.outer_iter_mut().zip(units) {
        place.iter_mut().zip(row(features, unit.borrow())).for_each(|(place, value)| *place = value);
    }
    rows
}

fn add_all(sums: &mut [Count], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        sum.add(count.packets, count.bytes);
    }
}
