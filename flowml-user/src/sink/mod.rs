//! Where records go: files, standard output and collectors for programs, standard error for people.
//!
//! [`Sinks`] takes every record with its verdict, derives the anomalies, and keeps the account: the last row of a JSON
//! file counts the rows before it.

mod activity;
pub mod catalogue;
mod columns;
mod console;
mod csv;
#[cfg(test)]
mod document;
#[cfg(test)]
pub(crate) mod golden;
mod ipfix;
mod jsonl;
mod metrics;
mod output;
mod parquet;
mod period;
mod report;
mod scrape;
mod screen;
mod service;
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

use flowml_common::flow::Part;

use crate::features::{FlowColumns, FlowRow, HostWindow};
use crate::incident::{Incident, State as Stage};
use crate::model::Verdict;
use crate::record::Clock;
use crate::session::Standing;

pub use self::columns::{OutputColumn, anomaly_columns, content_columns, flow_columns, host_columns, incident_columns};
pub use self::console::{Console, Verbosity};
pub use self::metrics::Metrics;
pub use self::report::{InterfaceReport, IntervalReport, LearnerReport, Totals};
pub use self::scrape::Scrapes;
pub use self::screen::{Event, Events};
pub use self::target::{Collector, Destination, Target, TargetError, Transport, grammar};
pub(crate) use self::text::counted;

/// The cells of rows and how they are written, for tables that are read again.
pub(crate) mod cells {
    pub(crate) use super::columns::{Cell, OutputColumn, flow_columns};
    pub(crate) use super::csv::{write_cell, write_fields, write_text};
    pub(crate) use super::parquet::{Builder, field, parquet_properties, plain_field};
}

/// Numbers as people read them.
pub(crate) mod words {
    pub(crate) use super::text::{grouped, probability, short, with_unit};
}

use self::output::State;
use self::report::Rows;
use self::writer::Writer;

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
    writers: Vec<Writer>,
    console: Console,
    metrics: Option<Metrics>,
    rows: Rows,
}

impl Sinks {
    /// Opens all outputs, for flows that have these columns; files are made anew.
    ///
    /// # Errors
    /// If one of them cannot be written.
    pub fn open(targets: &[Target], columns: FlowColumns, pace: Pace, console: Console) -> Result<Self, SinkError> {
        let mut writers = Vec::with_capacity(targets.len());
        for target in targets {
            let writer = Writer::open(target, columns, pace);
            writers.push(writer.map_err(|source| SinkError::Open { target: target.clone(), source })?);
        }
        Ok(Self { writers, console, metrics: None, rows: Rows::default() })
    }

    /// Keeps `metrics`, if there are any, up to date.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Option<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Takes a part of a flow that was drained: it is no record yet, but it is traffic that a table shows.
    pub fn part(&mut self, part: &Part, standing: Standing) {
        self.console.part(part, standing);
    }

    /// Takes a flow that has ended. There is no verdict while the learner warms up, nor without one. People are not told
    /// of an anomaly that is `in_incident`: they are told of that.
    pub fn flow(&mut self, row: &FlowRow, verdict: Option<&Verdict>, in_incident: bool) {
        self.rows.flows += 1;
        self.rows.sessions += u64::from(!row.record.continues);
        self.writers.iter_mut().for_each(|writer| writer.flow(row, verdict));
        let Some(verdict) = verdict else { return };
        self.rows.scored += 1;
        self.console.flow(row, verdict, in_incident);
        if verdict.anomaly {
            self.rows.flow_anomalies += 1;
            self.writers.iter_mut().for_each(|writer| writer.flow_anomaly(row, verdict));
        }
    }

    /// Takes the window of a host.
    pub fn host(&mut self, window: &HostWindow, clock: Clock, verdict: Option<&Verdict>) {
        self.rows.hosts += 1;
        self.writers.iter_mut().for_each(|writer| writer.host(window, clock, verdict));
        let Some(verdict) = verdict else { return };
        self.rows.scored += 1;
        self.console.host(window, verdict);
        if verdict.anomaly {
            self.rows.host_anomalies += 1;
            self.writers.iter_mut().for_each(|writer| writer.host_anomaly(window, clock, verdict));
        }
    }

    /// Takes what became of an incident.
    pub fn incident(&mut self, stage: Stage, incident: &Incident, clock: Clock) {
        self.writers.iter_mut().for_each(|writer| writer.incident(stage, incident, clock));
        if let (Some(metrics), Stage::Open) = (&self.metrics, stage) {
            metrics.incident();
        }
        self.console.incident(stage, incident);
    }

    /// Ends an interval: hands all rows to the system, so that a reader of the file sees them.
    ///
    /// Breaks where the run is to end, because the reader of standard output has gone.
    pub fn interval(&mut self, report: IntervalReport) -> ControlFlow<()> {
        self.flush();
        if let Some(metrics) = &self.metrics {
            let outputs = self.writers.iter().map(|writer| (writer.target().to_string(), writer.rows()));
            metrics.interval(&report, &self.rows, outputs);
        }
        self.console.interval(report, self.writers.iter().map(Writer::line));
        let gone = self.writers.iter().any(|writer| matches!(writer.state(), State::ReaderGone));
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

    /// Ends the run with the summary.
    ///
    /// # Errors
    /// If rows were lost on the way.
    pub fn finish(mut self, totals: &Totals) -> Result<(), SinkError> {
        let rows = self.rows;
        // The summary says what became of the records for collectors: those end first.
        let (mut collectors, mut others): (Vec<_>, Vec<_>) =
            self.writers.iter_mut().partition(|writer| writer.collector().is_some());
        collectors.iter_mut().for_each(|writer| writer.finish());
        let reports: Vec<_> = collectors.iter().filter_map(|writer| writer.collector()).collect();
        for writer in &mut others {
            writer.summary(totals, &rows, &reports);
            writer.finish();
        }
        self.tell_news();
        self.console.finish(totals, &rows, self.writers.iter().map(Writer::line).collect());
        self.losses().map_or(Ok(()), Err)
    }

    fn flush(&mut self) {
        self.writers.iter_mut().for_each(Writer::flush);
        self.tell_news();
    }

    fn tell_news(&mut self) {
        for text in self.writers.iter_mut().filter_map(Writer::news) {
            self.console.warn(&text);
        }
    }

    fn losses(&self) -> Option<SinkError> {
        let failed = self.writers.iter().filter(|writer| matches!(writer.state(), State::Failed(_)));
        let (rows, names): (Vec<u64>, Vec<String>) =
            failed.map(|writer| (writer.rows().1, writer.target().to_string())).unzip();
        let lost = SinkError::Lost { rows: rows.iter().sum(), destinations: names.join(", ") };
        (!names.is_empty()).then_some(lost)
    }
}
