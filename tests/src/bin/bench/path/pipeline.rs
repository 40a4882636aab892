//! The whole path of a flow through the agent: from the drained table to the outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use flowml_user::engine::learners::{Begin, Builtin, Learners};
use flowml_user::engine::{AlarmLevel, Pipeline};
use flowml_user::export::{
    InterfaceReport, IntervalReport, Observer, OutputLine, Pace, RowCounts, Sinks, Target, Totals,
};
use flowml_user::features::FlowColumns;
use flowml_user::learning::Settings;
use flowml_user::record::Clock;
use flowml_user::session::Timeouts;

use crate::cpu_time::cpu_time;
use crate::intervals::Intervals;

/// Probability below which rows are anomalies. The generated traffic is unlike that of the shipped model, and would open
/// incidents of its own: only scanners shall.
const ALARMS: AlarmLevel = AlarmLevel::Probability(1e-300);

/// How flows and host windows are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scoring {
    /// Not at all.
    None,
    /// By the shipped model.
    Shipped,
    /// By the shipped model, while a candidate is trained, as in `flowml run` without options. The candidate is trained
    /// on the thread that scores.
    Candidate,
}

impl Scoring {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Shipped, Self::Candidate];

    pub(crate) fn learners(self) -> Result<Option<Learners>> {
        let shipped =
            || Learners::begin(Begin::Builtin(Builtin::Both), FlowColumns::Headers, &Settings::default(), Some(ALARMS));
        Ok(match self {
            Self::None => None,
            Self::Shipped => Some(shipped()?.held()),
            Self::Candidate => Some(shipped()?),
        })
    }
}

/// What an observer of the run has seen.
#[derive(Default)]
struct Counters {
    /// Open incidents at the end of the last interval.
    incidents: AtomicU64,
    /// Open sessions at that time.
    sessions: AtomicU64,
    flows: AtomicU64,
    rows: AtomicU64,
    anomalies: AtomicU64,
}

struct Watcher(Arc<Counters>);

impl Observer for Watcher {
    fn interval(&mut self, report: &IntervalReport, _rows: &RowCounts, _outputs: &[OutputLine]) {
        self.0.incidents.store(report.incidents.len() as u64, Ordering::Relaxed);
        self.0.sessions.store(report.flows_open, Ordering::Relaxed);
    }

    fn finish(&mut self, _totals: &Totals, rows: &RowCounts, _outputs: &[OutputLine]) {
        self.0.flows.store(rows.flows, Ordering::Relaxed);
        self.0.rows.store(rows.flows + rows.hosts, Ordering::Relaxed);
        self.0.anomalies.store(rows.flow_anomalies, Ordering::Relaxed);
    }
}

/// The path of all flows of a run.
pub(crate) struct Path {
    pipeline: Pipeline,
    seen: Arc<Counters>,
    has_outputs: bool,
}

/// What a run had at its end.
pub(crate) struct Ended {
    /// Records of flows.
    pub(crate) flows: u64,
    /// Rows of flows and host windows.
    pub(crate) rows: u64,
    /// Records of flows that are anomalies.
    pub(crate) anomalies: u64,
}

impl Path {
    pub(crate) fn new(scoring: Scoring, timeouts: Timeouts, outputs: &[Target], start_ns: u64) -> Result<Self> {
        let seen = Arc::new(Counters::default());
        let sinks = Sinks::open(outputs, FlowColumns::Headers, Pace::Offline)?.observed_by(Watcher(Arc::clone(&seen)));
        let interfaces = vec![InterfaceReport { name: "bench".to_owned(), capture_mode: "file" }];
        let pipeline = Pipeline::new(timeouts, interfaces, scoring.learners()?, sinks, start_ns, 0);
        Ok(Self { pipeline, seen, has_outputs: !outputs.is_empty() })
    }

    /// Processes an interval. Returns the CPU time of all threads.
    pub(crate) fn take(&mut self, intervals: &Intervals) -> Duration {
        let table = intervals.table();
        let begun = cpu_time();
        self.pipeline.absorb(table.counts(), 0.5, table.flows());
        // It breaks only where standard output is closed, which is no output here.
        let _ = self.pipeline.end_interval(intervals.end_ns(), Clock::default());
        if self.has_outputs {
            wait_until_idle();
        }
        cpu_time() - begun
    }

    /// Number of open incidents at the end of the last interval.
    pub(crate) fn incidents(&self) -> u64 {
        self.seen.incidents.load(Ordering::Relaxed)
    }

    /// Number of open sessions at the end of the last interval.
    pub(crate) fn open_sessions(&self) -> u64 {
        self.seen.sessions.load(Ordering::Relaxed)
    }

    /// Ends the run. Fails if a packet or a row was lost.
    pub(crate) fn finish(self) -> Result<Ended> {
        let finished = self.pipeline.finish(Clock::default());
        finished.outputs?;
        ensure!(finished.conserved, "the packet accounting is not consistent");
        let counts = [&self.seen.flows, &self.seen.rows, &self.seen.anomalies];
        let [flows, rows, anomalies] = counts.map(|count| count.load(Ordering::Relaxed));
        Ok(Ended { flows, rows, anomalies })
    }
}

/// Time after which the threads of outputs are looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// CPU time of all threads in [`LOOK_EVERY`] below which they have nothing to do.
const IDLE: Duration = Duration::from_micros(200);

/// Waits until the threads of outputs have written all rows.
fn wait_until_idle() {
    loop {
        let before = cpu_time();
        thread::sleep(LOOK_EVERY);
        if cpu_time() - before < IDLE {
            return;
        }
    }
}
