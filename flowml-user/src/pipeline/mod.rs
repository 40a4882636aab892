//! The path of a drained epoch: sessions, host windows, records, learners, sinks; the same for every capture.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context, Result};
use flowml_common::counts::Counted;
use flowml_common::packet::{Sender, Skipped};
use flowml_common::table::{Count, Head};
use ndarray::Array2;

use crate::cli::ContentArguments;
use crate::features::{Feature, FlowColumns, FlowRow, HOST_FEATURES, HostWindows, Hosts, row};
use crate::incident::Incidents;
use crate::model::{Opinion, Succession, Verdict};
use crate::record::{Clock, FlowRecord, Inspector};
use crate::session::{Ended, Sessions, Timeouts, informed};
use crate::sink::{InterfaceReport, IntervalReport, SinkError, Sinks, Totals, counted};
use crate::witness::{Finding, Witnesses};

mod ahead;
mod budget;
mod clocks;
pub mod doctor;
mod drain;
pub mod epochs;
pub mod evaluate;
pub mod feedback;
mod figures;
mod inputs;
mod judged;
mod kept;
pub mod label;
pub mod learners;
pub mod live;
mod moments;
pub mod offline;
mod pictures;
mod progress;
mod quiet;
pub mod read;
mod repeats;
pub mod report;
mod stages;
mod stop;
mod teaching;
mod traffic;
pub mod train;
mod whole;

use learners::Learners;
use teaching::Vouched;

/// Over how long a host is judged.
pub const WINDOW: Duration = Duration::from_secs(2);

/// Everything behind the capture.
pub struct Pipeline {
    sessions: Sessions,
    windows: HostWindows,
    learners: Option<Learners>,
    inspector: Option<Inspector>,
    features: Vec<Feature<FlowRow>>,
    witnesses: Witnesses,
    incidents: Incidents,
    sinks: Sinks,
    interfaces: Vec<InterfaceReport>,
    /// Of interfaces whose clocks differ from that of the capture: what was added to their times, ns.
    shifts: HashMap<u32, i64>,
    totals: Totals,
    /// What came since the last interval ended.
    interval: Interval,
    /// When that was, ns of the capture's clock.
    interval_began_ns: u64,
}

/// What is told of an interval, which may have had several drains.
#[derive(Default)]
struct Interval {
    received: Count,
    skipped: [Count; Skipped::COUNT],
    flows_new: u64,
    occupancy: f64,
    drains: Vec<Duration>,
    late: Duration,
}

impl Pipeline {
    /// A pipeline for the flows of `interfaces` from `start_ns` of the capture's clock on, that judges by `learners`,
    /// where there are any, and tells `sinks`. Large windows are sampled by `seed` ([`HostWindows::with_seed`]).
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
            witnesses: Witnesses::new(seed),
            incidents: Incidents::default(),
            sinks,
            interfaces,
            shifts: HashMap::new(),
            totals,
            interval: Interval::default(),
            interval_began_ns: start_ns,
        }
    }

    /// Lets `inspector`, if there is one, look at the first payload bytes of each flow. Learners and sinks have its columns.
    #[must_use]
    pub fn with_inspector(mut self, inspector: Option<Inspector>) -> Self {
        self.features = FlowColumns::of(inspector.as_ref()).features().collect();
        self.inspector = inspector;
        self
    }

    /// Takes what one epoch counted. `occupancy` is how full the fullest CPU's table was.
    pub fn absorb<'a>(&mut self, head: &Head, occupancy: f64, flows: impl IntoIterator<Item = Counted<'a>>) {
        self.count(head, occupancy);
        let (windows, witnesses, sinks) = (&mut self.windows, &mut self.witnesses, &mut self.sinks);
        // Without learners there are no anomalies to join.
        let mut incidents = self.learners.is_some().then_some(&mut self.incidents);
        let (in_flows, flows_new) = (&mut self.totals.in_flows, &mut self.interval.flows_new);
        self.sessions.absorb_drain(flows, |part, standing| {
            in_flows.add(part.stats.packets(), part.stats.frame_bytes());
            *flows_new += u64::from(standing.new);
            windows.add(part, standing);
            witnesses.observe(part, standing);
            // Who sends an ICMP error has not dealt with the host that it informs.
            if let Some(incidents) = &mut incidents
                && informed(&part.key, &part.stats).is_none()
            {
                let ends = [standing.initiator, standing.initiator.opposite()];
                incidents.link(ends.map(|end| part.key.endpoint(end).address));
            }
            sinks.part(part, standing);
        });
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

    /// Takes note of how long it took to empty the table, and, at the end of an interval, how late that was.
    pub fn drained(&mut self, took: Duration, late: Option<Duration>) {
        self.interval.drains.push(took);
        self.interval.late = self.interval.late.max(late.unwrap_or_default());
    }

    /// Ends an interval at `at_ns` of the capture's clock: judges hosts and the flows that have ended, and tells.
    ///
    /// Breaks where the run is to end, because the reader of standard output has gone.
    pub fn end_interval(&mut self, at_ns: u64, clock: Clock) -> ControlFlow<()> {
        let elapsed = Duration::from_nanos(at_ns.saturating_sub(self.interval_began_ns));
        let hosts = self.windows.advance(at_ns);
        self.sessions.set_windows(|part, standing| self.windows.around(part, standing));
        let ended = self.sessions.expire(at_ns);
        if let Some(learners) = &mut self.learners {
            learners.expect_hosts(hosts.windows.len(), elapsed);
            learners.expect_flows(ended.len(), elapsed);
        }
        // First of all: what tests speak against is not learnt.
        self.witnesses.ended(&ended);
        let findings = self.witnesses.interval(at_ns);
        self.judge_hosts(&hosts, &findings, at_ns, clock);
        self.judge_flows(&ended, clock);
        self.tell_news();
        self.interval_began_ns = at_ns;
        self.totals.duration += elapsed;
        let Interval { received, skipped, flows_new, occupancy, drains, late } = std::mem::take(&mut self.interval);
        self.sinks.interval(IntervalReport {
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
            learners: self.learners.as_ref().map(Learners::reports).unwrap_or_default(),
            incidents: self.incidents.open().cloned().collect(),
        })
    }

    /// Begins anew at `at_ns` of a clock that was set: what is open belongs to the time before, and ends.
    pub fn begin(&mut self, at_ns: u64, clock: Clock) {
        let ended = self.sessions.flush();
        self.end_witnesses(&ended);
        self.judge_flows(&ended, clock);
        self.end_incidents(clock);
        self.witnesses.forget();
        self.windows.forget();
        self.shifts.clear();
        self.interval_began_ns = at_ns;
    }

    /// Takes note that the times of an interface's packets are those of its own clock and `shift_ns`, which its records do
    /// not have. It stays so until the next [`begin`](Self::begin).
    pub fn shift(&mut self, interface: u32, shift_ns: i64) {
        self.shifts.insert(interface, shift_ns);
    }

    /// Lets `intervals` go by, in all `silence_ns`, in which no packet came, no window was open and nothing ended.
    pub fn pass(&mut self, intervals: u64, silence_ns: u64) {
        self.windows.pass(silence_ns);
        if let Some(learners) = &mut self.learners {
            learners.flows.pass(intervals);
            learners.hosts.pass(intervals);
        }
    }

    /// When something may end by itself, ns of the capture's clock: before that, an interval without packets changes
    /// nothing but the windows.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.sessions.next_due_ns()
    }

    fn judge_hosts(&mut self, hosts: &Hosts, findings: &[Finding], at_ns: u64, clock: Clock) {
        self.totals.hosts_left_out += hosts.left_out;
        let vouched = || teaching::of_hosts(&self.incidents, findings, &hosts.windows);
        let learners = self.learners.as_mut().filter(|_| self.sinks.closing().scores(hosts.windows.len()));
        let learner = learners.map(|learners| (&mut learners.hosts, vouched()));
        let verdicts = verdicts(learner, HOST_FEATURES, hosts.windows.iter());
        let judged: Vec<_> = hosts.windows.iter().zip(verdicts).collect();
        for (window, verdict) in &judged {
            if verdict.as_ref().is_some_and(|verdict| verdict.opinion == Some(Opinion::Benign)) {
                self.incidents.excuse(window.address, at_ns);
            }
        }
        self.incidents.testify(findings, at_ns);
        let news = self.incidents.observe(at_ns, judged.iter().map(|(window, verdict)| (*window, verdict.as_ref())));
        for (window, verdict) in judged {
            self.sinks.host(*window, clock, verdict);
        }
        for (state, incident) in news {
            self.sinks.incident(state, incident, clock);
        }
    }

    fn judge_flows(&mut self, ended: &[Ended], clock: Clock) {
        // A row is several times as large as what is counted of a flow: it is made anew rather than kept.
        let row = |ended: &Ended| {
            let content = self.inspector.as_ref().map(|inspector| inspector.inspect(ended));
            let clock = self.shifts.get(&ended.key.interface()).map_or(clock, |shift_ns| clock.without(*shift_ns));
            FlowRow::new(FlowRecord::new(ended, clock).with_content(content), ended.windows)
        };
        let vouched = || teaching::of_flows(&self.incidents, ended);
        let closing = self.sinks.closing().clone();
        let learners = self.learners.as_mut().filter(|_| closing.scores(ended.len()));
        let learner = learners.map(|learners| (&mut learners.flows, vouched()));
        let (mut without, mut sessions_without) = (0, 0);
        let judged = ended.iter().zip(verdicts(learner, &self.features, ended.iter().map(row)));
        for (place, (ended, verdict)) in judged.enumerate() {
            if !closing.records(place, ended.stats.packets()) {
                without += 1;
                sessions_without += u64::from(!ended.continues);
                continue;
            }
            let anomaly = verdict.as_ref().is_some_and(|verdict| verdict.anomaly);
            let ends = [Sender::Lower, Sender::Upper].map(|end| ended.key.endpoint(end).address);
            let in_incident = anomaly && self.incidents.flow(ends);
            self.sinks.flow(row(ended), verdict, in_incident);
        }
        self.sinks.without_records(without, sessions_without);
        if !closing.scores(ended.len()) {
            self.sinks.warn(&format!(
                "{} flows are open at the end of the run: they have no scores, and there was no time for the records of {without}",
                ended.len()
            ));
        }
    }

    /// Lets tests say what they have found until the end.
    fn end_witnesses(&mut self, ended: &[Ended]) {
        self.witnesses.ended(ended);
        self.incidents.testify(&self.witnesses.finish(self.interval_began_ns), self.interval_began_ns);
    }

    fn end_incidents(&mut self, clock: Clock) {
        for (state, incident) in self.incidents.finish() {
            self.sinks.incident(state, incident, clock);
        }
    }

    fn tell_news(&mut self) {
        let Some(learners) = &mut self.learners else { return };
        for (of, news) in learners.news() {
            let text = format!("{of}: {news}");
            if news.is_warning() { self.sinks.warn(&text) } else { self.sinks.notice(&text) }
        }
    }

    /// How the run stands, in one line for a service manager.
    #[must_use]
    pub fn status(&self) -> String {
        let interface = |of: &InterfaceReport| format!("{} ({})", of.name, of.xdp_mode);
        let interfaces: Vec<String> = self.interfaces.iter().map(interface).collect();
        let (received, sessions) = (self.totals.received.packets, self.sessions.len() as u64);
        let incidents = self.incidents.open().count() as u64;
        let counts = [(received, "packet"), (sessions, "open session"), (incidents, "open incident")];
        let counts = counts.map(|(count, of)| counted(count, of));
        format!("metering {}: {}", interfaces.join(", "), counts.join(", "))
    }

    /// The learners, where there are any.
    pub fn learners(&mut self) -> Option<&mut Learners> {
        self.learners.as_mut()
    }

    /// What is told, and to whom.
    pub const fn sinks(&mut self) -> &mut Sinks {
        &mut self.sinks
    }

    /// Tells people what is as it should be.
    pub fn notice(&mut self, text: &str) {
        self.sinks.notice(text);
    }

    /// Tells people what went wrong.
    pub fn warn(&mut self, text: &str) {
        self.sinks.warn(text);
    }

    /// Ends the run: all sessions become records, and the summary closes the account.
    #[must_use]
    pub fn finish(mut self, clock: Clock) -> Finished {
        self.sinks.end();
        let ended = self.sessions.flush();
        self.end_witnesses(&ended);
        self.judge_flows(&ended, clock);
        self.end_incidents(clock);
        (self.totals.incidents, self.totals.incidents_left_out) = self.incidents.totals();
        let conserved = self.totals.is_conserved();
        let outputs = self.sinks.finish(&self.totals);
        Finished { learners: self.learners, conserved, outputs }
    }
}

/// Who looks at the content of flows, where that is asked for.
fn inspector(arguments: &ContentArguments) -> Result<Option<Inspector>> {
    let wanted = arguments.limit().is_some();
    let inspector = wanted.then(|| Inspector::new(&arguments.matches)).transpose();
    inspector.context("'--match' was given too much: the patterns together are too large")
}

/// What is left of a pipeline.
pub struct Finished {
    /// What was learnt, by the learners that the pipeline was given.
    pub learners: Option<Learners>,
    /// Whether received = in flows + skipped.
    pub conserved: bool,
    /// Whether all rows are where they should be.
    pub outputs: Result<(), SinkError>,
}

/// What the learner says of each unit; without one, nothing.
fn verdicts<T>(
    learner: Option<(&mut Succession, Vouched)>,
    table: &[Feature<T>],
    units: impl ExactSizeIterator<Item = impl Borrow<T>>,
) -> impl Iterator<Item = Option<Verdict>> {
    let judged = learner.map(|(learner, vouched)| observe(learner, table, units, &vouched));
    judged.unwrap_or_default().into_iter().chain(std::iter::repeat(None))
}

/// Scores the units and learns from those that may teach.
fn observe<T>(
    learner: &mut Succession,
    table: &[Feature<T>],
    units: impl ExactSizeIterator<Item = impl Borrow<T>>,
    vouched: &Vouched,
) -> Vec<Option<Verdict>> {
    let mut rows = Array2::zeros((units.len(), table.len()));
    for (mut place, unit) in rows.outer_iter_mut().zip(units) {
        place.iter_mut().zip(row(table, unit.borrow())).for_each(|(place, value)| *place = value);
    }
    learner.observe(rows.view(), &vouched.teaching, &vouched.hosts)
}

fn add_all(sums: &mut [Count], counts: &[Count]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        sum.add(count.packets, count.bytes);
    }
}
