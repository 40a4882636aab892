//! All outputs and observers of a run: passes rows and reports on, and counts the rows.

use std::error::Error;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use flowml_common::flow::PartialFlow;

use crate::capture::file::Signals;
use crate::features::{Aggregate, FlowRow, HostWindow, RowColumns};
use crate::incident::{Incident, State};
use crate::learning::{ClusterStatistics, Verdict};
use crate::process::crypto_pan::CryptoPan;
use crate::record::Clock;
use crate::session::Standing;

use super::batch::Batch;
use super::closing::Closing;
use super::ending::Ending;
use super::observer::Observer;
use super::origin::Origin;
use super::outlet::Outlet;
use super::pace::Pace;
use super::pseudonyms::Pseudonyms;
use super::recorded::RecordedFlow;
use super::report::{Began, IntervalReport, OutputLine, RowCounts, Summary, Totals};
use super::target::Target;

/// An error because of which records were not written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// An output cannot be opened.
    #[error("cannot write records to {target}")]
    Open {
        /// The output.
        target: Target,
        /// The error of the system.
        source: io::Error,
    },
    /// Rows were lost during the run. Each failure was reported when it happened.
    #[error("{rows} rows are missing from {destinations}")]
    Lost {
        /// Rows that were not written, or only in part.
        rows: u64,
        /// The outputs that lost them.
        destinations: String,
    },
}

/// All outputs and observers.
pub struct Sinks {
    pub(super) outlets: Vec<Outlet>,
    /// The rows that are sent to the outputs next.
    batch: Batch,
    ending: Ending,
    pub(super) pace: Pace,
    observers: Vec<Box<dyn Observer>>,
    rows: RowCounts,
    /// Replaces addresses in what outputs get.
    pseudonyms: Option<Pseudonyms>,
}

impl Sinks {
    /// Opens all outputs, for flows with these columns. Files are truncated. The agent has the name of this host.
    ///
    /// # Errors
    /// If an output cannot be opened.
    pub fn open(targets: &[Target], columns: impl Into<RowColumns>, pace: Pace) -> Result<Self, SinkError> {
        Self::open_as(&Origin::starting(None), targets, columns, pace)
    }

    /// As [`Self::open`], for the agent `origin`.
    ///
    /// # Errors
    /// If an output cannot be opened.
    pub fn open_as(
        origin: &Origin,
        targets: &[Target],
        columns: impl Into<RowColumns>,
        pace: Pace,
    ) -> Result<Self, SinkError> {
        let columns = columns.into();
        let mut outlets = Vec::with_capacity(targets.len());
        for target in targets {
            let outlet = Outlet::open(target, columns, pace, origin);
            outlets.push(outlet.map_err(|source| SinkError::Open { target: target.clone(), source })?);
        }
        Ok(Self::over(outlets, pace))
    }

    pub(super) fn over(outlets: Vec<Outlet>, pace: Pace) -> Self {
        let (ending, rows) = Default::default();
        Self { outlets, batch: Batch::new(), ending, pace, observers: Vec::new(), rows, pseudonyms: None }
    }

    /// Replaces addresses by pseudonyms in everything that outputs get. Observers get the addresses.
    #[must_use]
    pub fn anonymized_by(mut self, function: CryptoPan) -> Self {
        self.pseudonyms = Some(Pseudonyms::new(function));
        self
    }

    /// Adds an observer of the run.
    #[must_use]
    pub fn observed_by(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Lets a signal end every wait for a blocked output.
    #[must_use]
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.ending = Ending::at(signals);
        self
    }

    /// Limits the end of a live run by `closing`.
    #[must_use]
    pub(crate) fn with_closing(mut self, closing: Closing) -> Self {
        self.ending = Ending::of(closing);
        self
    }

    /// Limits the memory of the rows queued for all outputs to `bytes`, divided equally. Incidents are so few that their
    /// receivers do not count.
    #[must_use]
    pub(crate) fn with_room(self, bytes: usize) -> Self {
        let takers = self.outlets.iter().filter(|outlet| outlet.takes_rows()).count();
        self.outlets.iter().for_each(|outlet| outlet.set_room(bytes / takers.max(1)));
        self
    }

    /// Whether an output takes other rows than events of incidents.
    fn takes_rows(&self) -> bool {
        self.outlets.iter().any(Outlet::takes_rows)
    }

    /// The highest fill level of a queue, 0 to 1. Outputs that mostly wait for their reader or for the system do not
    /// count, as only their own rows are lost.
    #[must_use]
    pub(crate) fn pressure(&self) -> f64 {
        self.outlets.iter().map(Outlet::pressure).fold(0.0, f64::max)
    }

    /// The time limit of the end of a live run.
    #[must_use]
    pub(crate) const fn closing(&self) -> &Closing {
        self.ending.closing()
    }

    /// Adds a partial flow, which is shown as traffic and is not a record.
    pub fn partial_flow(&mut self, partial: &PartialFlow, standing: Standing) {
        self.observers.iter_mut().for_each(|observer| observer.partial_flow(partial, standing));
    }

    /// Adds a flow that has ended. There is no verdict while the model warms up, and without a model. An anomaly that
    /// is `in_incident` need not be shown, as its incident is. The row is made only for outputs, because making it
    /// takes longer than a score.
    pub fn flow(
        &mut self,
        flow: RecordedFlow,
        verdict: Option<Verdict>,
        in_incident: bool,
        row: impl FnOnce() -> FlowRow,
    ) {
        self.rows.flows += 1;
        self.rows.sessions += u64::from(!flow.continues);
        if let Some(verdict) = &verdict {
            self.rows.scored += 1;
            self.rows.flow_anomalies += u64::from(verdict.anomaly);
            self.observers.iter_mut().for_each(|observer| observer.flow(flow, verdict, in_incident));
        }
        if !self.takes_rows() {
            return;
        }
        let judged = (shown(&mut self.pseudonyms, row(), Pseudonyms::flow), verdict);
        match &mut self.batch {
            Batch::Flows(rows) => rows.push(judged),
            _ => self.begin_batch(Batch::of_flow(judged)),
        }
        self.send_if_full();
    }

    /// Counts flows that have ended without a record, and their sessions.
    pub(crate) fn without_records(&mut self, flows: u64, sessions: u64) {
        self.rows.flows += flows;
        self.rows.sessions += sessions;
        self.outlets.iter_mut().for_each(|outlet| outlet.lose(flows));
    }

    /// Adds an aggregate record.
    pub fn aggregate(&mut self, aggregate: Aggregate) {
        self.rows.aggregates += 1;
        if !self.takes_rows() {
            return;
        }
        let aggregate = shown(&mut self.pseudonyms, aggregate, Pseudonyms::aggregate);
        match &mut self.batch {
            Batch::Aggregates(rows) => rows.push(aggregate),
            _ => self.begin_batch(Batch::Aggregates(vec![aggregate])),
        }
        self.send_if_full();
    }

    /// Adds the statistics of clusters. They have no address.
    pub fn statistics(&mut self, statistics: Vec<ClusterStatistics>) {
        self.rows.statistics += statistics.len() as u64;
        if !self.takes_rows() {
            return;
        }
        for row in statistics {
            match &mut self.batch {
                Batch::Statistics(rows) => rows.push(row),
                _ => self.begin_batch(Batch::Statistics(vec![row])),
            }
            self.send_if_full();
        }
    }

    /// Adds a host window.
    pub fn host(&mut self, window: HostWindow, clock: Clock, verdict: Option<Verdict>) {
        self.rows.hosts += 1;
        if let Some(verdict) = &verdict {
            self.rows.scored += 1;
            self.rows.host_anomalies += u64::from(verdict.anomaly);
            self.observers.iter_mut().for_each(|observer| observer.host(&window, verdict));
        }
        if !self.takes_rows() {
            return;
        }
        let window = shown(&mut self.pseudonyms, window, Pseudonyms::host);
        match &mut self.batch {
            Batch::Hosts(rows) => rows.push((window, clock, verdict)),
            _ => self.begin_batch(Batch::Hosts(vec![(window, clock, verdict)])),
        }
        self.send_if_full();
    }

    /// Adds events of incidents, in their order.
    pub fn incidents(&mut self, events: impl IntoIterator<Item = (State, Incident)>, clock: Clock) {
        events.into_iter().for_each(|(state, incident)| self.incident(state, incident, clock));
    }

    /// Adds an event of an incident.
    fn incident(&mut self, stage: State, incident: Incident, clock: Clock) {
        self.observers.iter_mut().for_each(|observer| observer.incident(stage, &incident));
        if self.outlets.is_empty() {
            return;
        }
        let incident = shown(&mut self.pseudonyms, incident, Pseudonyms::incident);
        match &mut self.batch {
            Batch::Incidents(rows) => rows.push((stage, incident, clock)),
            _ => self.begin_batch(Batch::Incidents(vec![(stage, incident, clock)])),
        }
        self.send_if_full();
    }

    /// Starts a batch of rows of another kind.
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

    /// Ends an interval: flushes all rows, so that they are visible to readers of the files.
    ///
    /// Breaks if the run is to end because standard output was closed.
    pub fn interval(&mut self, report: &IntervalReport) -> ControlFlow<()> {
        self.flush();
        let outputs: Vec<OutputLine> = self.outlets.iter().map(Outlet::line).collect();
        self.observers.iter_mut().for_each(|observer| observer.interval(report, &self.rows, &outputs));
        let gone = self.outlets.iter().any(Outlet::is_reader_gone);
        if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Metering begins.
    ///
    /// # Errors
    /// If an observer cannot observe it.
    pub fn begin(&mut self, began: &Began) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.observers.iter_mut().try_for_each(|observer| observer.begin(began))
    }

    /// Wakes the observers. Breaks if one of them ends the run.
    pub fn wake(&mut self) -> ControlFlow<()> {
        self.observers.iter_mut().try_for_each(|observer| observer.wake())
    }

    /// The run is about to end.
    pub fn ending(&mut self) {
        self.observers.iter_mut().for_each(|observer| observer.ending());
    }

    /// Shows a notice.
    pub fn notice(&mut self, text: &str) {
        self.observers.iter_mut().for_each(|observer| observer.notice(text));
    }

    /// Shows a warning.
    pub fn warn(&mut self, text: &str) {
        self.observers.iter_mut().for_each(|observer| observer.warn(text));
    }

    /// Starts the end of the run. From now on rows wait for outputs that still accept some, for a limited time.
    pub fn end(&mut self) {
        if self.pace == Pace::Live {
            self.ending.begin();
            self.outlets.iter().for_each(Outlet::end);
        }
    }

    /// Ends the run with the summary.
    ///
    /// # Errors
    /// If rows were lost.
    pub fn finish(mut self, totals: &Totals) -> Result<(), SinkError> {
        let rows = self.rows;
        self.end();
        self.send();
        // The summary has the rows of the other outputs. So all outputs first write what they have, and those without a
        // summary end.
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
        self.report_events();
        let outputs: Vec<OutputLine> = self.outlets.iter().map(Outlet::line).collect();
        self.observers.iter_mut().for_each(|observer| observer.finish(totals, &rows, &outputs));
        self.losses().map_or(Ok(()), Err)
    }

    fn flush(&mut self) {
        self.send();
        self.outlets.iter_mut().for_each(Outlet::flush);
        self.report_events();
    }

    fn report_events(&mut self) {
        for text in self.outlets.iter_mut().flat_map(Outlet::notices) {
            self.observers.iter_mut().for_each(|observer| observer.warn(&text));
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

/// The value as outputs get it: `replace` is applied if there are pseudonyms.
fn shown<T>(pseudonyms: &mut Option<Pseudonyms>, value: T, replace: fn(&mut Pseudonyms, T) -> T) -> T {
    match pseudonyms {
        Some(pseudonyms) => replace(pseudonyms, value),
        None => value,
    }
}
