//! Where records go: files, standard output and collectors for programs, standard error for people.
//!
//! [`Sinks`] takes every record with its verdict, derives the anomalies, and keeps the account: the last row of a JSON
//! file counts the rows before it.

mod account;
mod activity;
mod backoff;
mod batch;
pub mod catalogue;
mod closing;
mod columns;
mod console;
mod csv;
#[cfg(test)]
mod document;
mod ending;
mod files;
#[cfg(test)]
pub(crate) mod golden;
mod ipfix;
mod jsonl;
mod metrics;
mod outlet;
mod output;
mod outward;
mod parquet;
mod part;
mod period;
mod report;
mod rotation;
mod scrape;
mod screen;
mod service;
mod shedding;
mod tables;
mod target;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod view;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use flowml_common::flow::Part;

use crate::capture::file::Signals;
use crate::features::{Aggregate, FlowColumns, FlowRow, HostWindow};
use crate::incident::{Incident, State as Stage};
use crate::model::Verdict;
use crate::record::Clock;
use crate::session::Standing;

pub use self::closing::Closing;
pub use self::columns::{
    OutputColumn, aggregate_columns, anomaly_columns, content_columns, flow_columns, host_columns, incident_columns,
};
pub use self::console::{Console, Verbosity};
pub use self::metrics::Metrics;
pub use self::outward::tell_last;
pub use self::report::{InterfaceReport, IntervalReport, LearnerReport, Totals};
pub use self::rotation::Rotation;
pub use self::scrape::Scrapes;
pub use self::screen::{Event, Events};
pub use self::shedding::{Level, STEPS, Shedding, Step};
pub use self::target::{Collector, Destination, FileTarget, Target, TargetError, Transport, grammar};
pub(crate) use self::text::counted;

/// The cells of rows and how they are written, for tables that are read again.
pub(crate) mod cells {
    pub(crate) use super::columns::{Cell, OutputColumn, flow_columns};
    pub(crate) use super::csv::{marked, unmarked, write_cell, write_fields, write_text};
    pub(crate) use super::parquet::{Builder, field, parquet_properties, plain_field};
}

/// Numbers as people read them.
pub(crate) mod words {
    pub(crate) use super::text::{grouped, probability, short, with_unit};
}

use self::batch::Batch;
use self::ending::Ending;
use self::outlet::Outlet;
use self::report::{Rows, Summary};

/// Why records are not where they should be.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// An output cannot be opened.
    #[error("cannot write records to {target}")]
    Open {
        /// Where to.
        target: Target,
        /// The system's reason.
        source: io::Error,
    },
    /// Metrics cannot be offered.
    #[error("cannot offer metrics at {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The terminal cannot show a screen.
    #[error("cannot show a screen on this terminal")]
    Screen(#[source] io::Error),
    /// Outputs failed while running. Each was told when it happened.
    #[error("{rows} rows are missing from {destinations}")]
    Lost {
        /// Rows that were not written, or not wholly.
        rows: u64,
        /// Where they should be.
        destinations: String,
    },
}

/// Whether something waits for the outputs, or is held up by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Packets come whether rows are taken or not: a collector must not hold the drains up.
    Live,
    /// A file is read as fast as its rows are taken.
    Offline,
}

/// All outputs and the console.
pub struct Sinks {
    outlets: Vec<Outlet>,
    /// Rows that are on their way to the outputs next.
    batch: Batch,
    ending: Ending,
    pace: Pace,
    console: Console,
    metrics: Option<Metrics>,
    rows: Rows,
}

impl Sinks {
    /// Opens all outputs, for flows that have these columns; files are truncated.
    ///
    /// # Errors
    /// If one of them cannot be written.
    pub fn open(targets: &[Target], columns: FlowColumns, pace: Pace, console: Console) -> Result<Self, SinkError> {
        let mut outlets = Vec::with_capacity(targets.len());
        for target in targets {
            let outlet = Outlet::open(target, columns, pace);
            outlets.push(outlet.map_err(|source| SinkError::Open { target: target.clone(), source })?);
        }
        Ok(Self::over(outlets, pace, console))
    }

    fn over(outlets: Vec<Outlet>, pace: Pace, console: Console) -> Self {
        let (ending, rows) = Default::default();
        Self { outlets, batch: Batch::new(), ending, pace, console, metrics: None, rows }
    }

    /// Keeps `metrics`, if there are any, up to date.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Option<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Lets a signal end every wait for an output that takes nothing.
    #[must_use]
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.ending = Ending::at(signals);
        self
    }

    /// Lets the end of a live run be bounded by `closing`.
    #[must_use]
    pub fn with_closing(mut self, closing: Closing) -> Self {
        self.ending = Ending::of(closing);
        self
    }

    /// Lets rows that wait for outputs take at most so much memory together, bytes.
    #[must_use]
    pub fn with_room(self, bytes: usize) -> Self {
        self.outlets.iter().for_each(|outlet| outlet.set_room(bytes / self.outlets.len()));
        self
    }

    /// How full the memory is for the rows of the output that has most to do, 0 to 1. One that mostly waits for its reader or
    /// for the system does not count: rows of its own are lost, and others have nothing to do with that.
    #[must_use]
    pub fn pressure(&self) -> f64 {
        self.outlets.iter().map(Outlet::pressure).fold(0.0, f64::max)
    }

    /// How long the end of the run may take.
    #[must_use]
    pub const fn closing(&self) -> &Closing {
        self.ending.closing()
    }

    /// Takes a part of a flow that was drained: it is no record yet, but it is traffic that a table shows.
    pub fn part(&mut self, part: &Part, standing: Standing) {
        self.console.part(part, standing);
    }

    /// Takes a flow that has ended. There is no verdict while the learner warms up, nor without one. People are not told
    /// of an anomaly that is `in_incident`: they are told of that.
    pub fn flow(&mut self, row: FlowRow, verdict: Option<Verdict>, in_incident: bool) {
        self.rows.flows += 1;
        self.rows.sessions += u64::from(!row.record.continues);
        if let Some(verdict) = &verdict {
            self.rows.scored += 1;
            self.rows.flow_anomalies += u64::from(verdict.anomaly);
            self.console.flow(&row, verdict, in_incident);
        }
        if self.outlets.is_empty() {
            return;
        }
        match &mut self.batch {
            Batch::Flows(rows) => rows.push((row, verdict)),
            _ => self.begin_batch(Batch::Flows(vec![(row, verdict)])),
        }
        self.send_if_full();
    }

    /// Takes note of flows that have ended and get no record, and of how many sessions they are.
    pub fn without_records(&mut self, flows: u64, sessions: u64) {
        self.rows.flows += flows;
        self.rows.sessions += sessions;
        self.outlets.iter_mut().for_each(|outlet| outlet.lose(flows));
    }

    /// Takes an aggregate record.
    pub fn aggregate(&mut self, aggregate: Aggregate) {
        self.rows.aggregates += 1;
        if self.outlets.is_empty() {
            return;
        }
        match &mut self.batch {
            Batch::Aggregates(rows) => rows.push(aggregate),
            _ => self.begin_batch(Batch::Aggregates(vec![aggregate])),
        }
        self.send_if_full();
    }

    /// Takes the window of a host.
    pub fn host(&mut self, window: HostWindow, clock: Clock, verdict: Option<Verdict>) {
        self.rows.hosts += 1;
        if let Some(verdict) = &verdict {
            self.rows.scored += 1;
            self.rows.host_anomalies += u64::from(verdict.anomaly);
            self.console.host(&window, verdict);
        }
        if self.outlets.is_empty() {
            return;
        }
        match &mut self.batch {
            Batch::Hosts(rows) => rows.push((window, clock, verdict)),
            _ => self.begin_batch(Batch::Hosts(vec![(window, clock, verdict)])),
        }
        self.send_if_full();
    }

    /// Takes what became of an incident.
    pub fn incident(&mut self, stage: Stage, incident: Incident, clock: Clock) {
        if let (Some(metrics), Stage::Open) = (&self.metrics, stage) {
            metrics.incident(incident.kind);
        }
        self.console.incident(stage, &incident);
        if self.outlets.is_empty() {
            return;
        }
        match &mut self.batch {
            Batch::Incidents(rows) => rows.push((stage, incident, clock)),
            _ => self.begin_batch(Batch::Incidents(vec![(stage, incident, clock)])),
        }
        self.send_if_full();
    }

    /// Rows of another kind follow.
    fn begin_batch(&mut self, batch: Batch) {
        self.send();
        self.batch = batch;
    }

    fn send_if_full(&mut self) {
        if self.batch.is_full() {
            self.send();
        }
    }

    /// Sends the rows to the outputs.
    fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Batch::new());
        let bytes = batch.bytes();
        let batch = Arc::new(batch);
        for outlet in &mut self.outlets {
            outlet.take(&batch, bytes, &self.ending);
        }
    }

    /// Ends an interval: hands all rows to the system, so that a reader of the file sees them.
    ///
    /// Breaks where the run is to end, because the reader of standard output has gone.
    pub fn interval(&mut self, report: IntervalReport) -> ControlFlow<()> {
        self.flush();
        if let Some(metrics) = &mut self.metrics {
            let outputs = self.outlets.iter().map(|outlet| (outlet.target().to_string(), outlet.rows()));
            metrics.interval(&report, &self.rows, outputs);
        }
        self.console.interval(report, self.outlets.iter().map(Outlet::line));
        let gone = self.outlets.iter().any(Outlet::is_reader_gone);
        if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Shows people a screen from now on, instead of tables and messages.
    ///
    /// # Errors
    /// If the terminal is fit for none.
    pub fn enter_screen(&mut self) -> Result<(), SinkError> {
        self.console.enter_screen().map_err(SinkError::Screen)
    }

    /// Ends the screen, if there is one.
    pub fn leave_screen(&mut self) {
        self.console.leave_screen();
    }

    /// Takes what came from the terminal of the screen. Breaks where people ask for the end of the run.
    pub fn event(&mut self, event: &Event) -> ControlFlow<()> {
        self.console.event(event)
    }

    /// Tells people what is as it should be; not where they want to know of errors alone.
    pub fn notice(&mut self, text: &str) {
        self.console.notice(text);
    }

    /// Tells people what is not as it should be, whatever the verbosity.
    pub fn warn(&mut self, text: &str) {
        self.console.warn(text);
    }

    /// Says that the run comes to its end: from now on rows wait for outputs that still take some, for a time.
    pub fn end(&mut self) {
        if self.pace == Pace::Live {
            self.ending.begin();
        }
    }

    /// Ends the run with the summary.
    ///
    /// # Errors
    /// If rows were lost on the way.
    pub fn finish(mut self, totals: &Totals) -> Result<(), SinkError> {
        let rows = self.rows;
        self.end();
        self.send();
        // The summary says what became of the rows of the other outputs: all are asked to write what they have, and those that
        // have no summary end.
        let (mut with_summary, mut others): (Vec<_>, Vec<_>) =
            self.outlets.iter_mut().partition(|outlet| outlet.target().has_summary());
        others.iter().for_each(|outlet| outlet.close());
        with_summary.iter().for_each(|outlet| outlet.settle());
        others.iter_mut().for_each(|outlet| outlet.wait(true, &self.ending));
        with_summary.iter_mut().for_each(|outlet| outlet.wait(false, &self.ending));
        let collectors: Vec<_> = self.outlets.iter().filter_map(Outlet::collector).collect();
        let losses: Vec<_> = self.outlets.iter().filter_map(Outlet::loss).collect();
        for outlet in self.outlets.iter_mut().filter(|outlet| outlet.target().has_summary()) {
            let (totals, collectors, losses) = (totals.clone(), collectors.clone(), losses.clone());
            outlet.summary(Summary { totals, rows, collectors, losses });
            outlet.close();
        }
        self.outlets.iter_mut().for_each(|outlet| outlet.wait(true, &self.ending));
        self.tell_news();
        self.console.finish(totals, &rows, self.outlets.iter().map(Outlet::line).collect());
        self.losses().map_or(Ok(()), Err)
    }

    fn flush(&mut self) {
        self.send();
        self.outlets.iter_mut().for_each(Outlet::flush);
        self.tell_news();
    }

    fn tell_news(&mut self) {
        for text in self.outlets.iter_mut().flat_map(Outlet::news) {
            self.console.warn(&text);
        }
    }

    fn losses(&self) -> Option<SinkError> {
        let lossy = self.outlets.iter().filter(|outlet| outlet.has_losses());
        let (rows, names): (Vec<u64>, Vec<String>) =
            lossy.map(|outlet| (outlet.rows().1, outlet.target().to_string())).unzip();
        let lost = SinkError::Lost { rows: rows.iter().sum(), destinations: names.join(", ") };
        (!names.is_empty()).then_some(lost)
    }
}
