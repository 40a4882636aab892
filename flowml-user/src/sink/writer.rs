//! One output with its format: what becomes of each kind of row.

use std::io;
use std::path::Path;

use super::ipfix::Exporter;
use super::output::{Output, State};
use super::parquet::Tables;
use super::report::{CollectorReport, Rows, Totals};
#[cfg(test)]
use super::target::Destination;
use super::target::Target;
use super::view::OutputLine;
use super::{Pace, csv, jsonl};
use crate::features::{FlowColumns, FlowRow, HostWindow};
use crate::incident::{Incident, State as Stage};
use crate::model::Verdict;
use crate::record::Clock;

/// An output and how it is written.
pub(super) struct Writer {
    target: Target,
    stream: Stream,
    /// Whether people were told of its failure.
    told: bool,
}

enum Stream {
    Jsonl(Output),
    Csv(Output),
    Parquet(Box<Folder>),
    Ipfix(Box<Collected>),
}

/// A folder of tables, with the account of its rows.
struct Folder {
    tables: Tables,
    state: State,
    rows: u64,
    rows_lost: u64,
}

/// An export, of which a file that is read wants all rows to arrive.
struct Collected {
    exporter: Exporter,
    pace: Pace,
    state: State,
}

impl Writer {
    /// Opens what `-o` names, for flows that have these columns.
    pub(super) fn open(target: &Target, columns: FlowColumns, pace: Pace) -> io::Result<Self> {
        let stream = match target {
            Target::Jsonl(destination) => Stream::Jsonl(Output::open(destination.clone())?),
            Target::Csv(destination) => {
                let mut output = Output::open(destination.clone())?;
                output.header(|line| csv::write_header(line, columns))?;
                Stream::Csv(output)
            }
            Target::Parquet(folder) => Stream::Parquet(Box::new(Folder::open(folder, columns)?)),
            Target::Ipfix(collector) => {
                let exporter = Exporter::open(collector, pace)?;
                Stream::Ipfix(Box::new(Collected { exporter, pace, state: State::Writing }))
            }
        };
        Ok(Self { target: target.clone(), stream, told: false })
    }

    /// Takes a flow.
    pub(super) fn flow(&mut self, row: &FlowRow, verdict: Option<&Verdict>) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_flow(line, row, verdict)),
            Stream::Csv(output) => output.row(|line| csv::write_flow(line, row, verdict)),
            Stream::Parquet(folder) => folder.row(|tables| tables.flow(row, verdict)),
            Stream::Ipfix(collected) => collected.exporter.flow(row, verdict),
        }
    }

    /// Takes the anomaly that a flow is.
    pub(super) fn flow_anomaly(&mut self, row: &FlowRow, verdict: &Verdict) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_flow_anomaly(line, row, verdict)),
            Stream::Csv(_) | Stream::Ipfix(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.flow_anomaly(row, verdict)),
        }
    }

    /// Takes the window of a host.
    pub(super) fn host(&mut self, window: &HostWindow, clock: Clock, verdict: Option<&Verdict>) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_host(line, window, clock, verdict)),
            Stream::Csv(_) | Stream::Ipfix(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.host(window, clock, verdict)),
        }
    }

    /// Takes the anomaly that a host window is.
    pub(super) fn host_anomaly(&mut self, window: &HostWindow, clock: Clock, verdict: &Verdict) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_host_anomaly(line, window, clock, verdict)),
            Stream::Csv(_) | Stream::Ipfix(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.host_anomaly(window, clock, verdict)),
        }
    }

    /// Takes what became of an incident.
    pub(super) fn incident(&mut self, stage: Stage, incident: &Incident, clock: Clock) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_incident(line, stage, incident, clock)),
            Stream::Csv(_) | Stream::Ipfix(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.incident(stage, incident, clock)),
        }
    }

    /// Hands what it can to the system.
    pub(super) fn flush(&mut self) {
        match &mut self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.flush(),
            Stream::Parquet(_) => {}
            Stream::Ipfix(collected) => collected.exporter.flush(),
        }
    }

    /// Takes the summary, where the format has room for it.
    pub(super) fn summary(&mut self, totals: &Totals, rows: &Rows, collectors: &[CollectorReport]) {
        if let Stream::Jsonl(output) = &mut self.stream {
            output.row(|line| jsonl::write_summary(line, totals, rows, collectors));
        }
    }

    /// Ends the output.
    pub(super) fn finish(&mut self) {
        match &mut self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.flush(),
            Stream::Parquet(folder) => folder.finish(),
            Stream::Ipfix(collected) => collected.finish(),
        }
    }

    /// Where its rows go.
    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// How it is doing.
    pub(super) fn state(&self) -> &State {
        match &self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.state(),
            Stream::Parquet(folder) => &folder.state,
            Stream::Ipfix(collected) => &collected.state,
        }
    }

    /// What people should know of it that they do not know yet.
    pub(super) fn news(&mut self) -> Option<String> {
        if let Stream::Ipfix(collected) = &mut self.stream {
            return collected.exporter.news();
        }
        let State::Failed(error) = self.state() else { return None };
        let text = format!("cannot write to {}: {error}; its further rows are lost, metering goes on", self.target);
        (!std::mem::replace(&mut self.told, true)).then_some(text)
    }

    /// Rows that were written, or wait in a buffer, and rows that were not, or not wholly, written.
    pub(super) fn rows(&self) -> (u64, u64) {
        match &self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => (output.rows(), output.rows_lost()),
            Stream::Parquet(folder) => (folder.rows, folder.rows_lost),
            Stream::Ipfix(collected) => {
                let account = collected.exporter.account();
                (account.sent, account.lost)
            }
        }
    }

    /// What a collector was sent, where this is one.
    pub(super) fn collector(&self) -> Option<CollectorReport> {
        let (sent, lost) = self.rows();
        let destination = self.target.to_string();
        matches!(self.stream, Stream::Ipfix(_)).then_some(CollectorReport { destination, sent, lost })
    }

    /// What people are told of it at the end.
    pub(super) fn line(&self) -> OutputLine {
        let (rows, rows_lost) = self.rows();
        let reader_gone = matches!(self.state(), State::ReaderGone);
        OutputLine { destination: self.target.to_string(), rows, rows_lost, reader_gone }
    }
}

impl Collected {
    /// Live, that a collector was away for a time is no failure of the run.
    fn finish(&mut self) {
        self.exporter.finish();
        let lost = self.exporter.account().lost;
        if self.pace == Pace::Offline && lost > 0 {
            self.state = State::Failed(io::Error::other("the collector did not take all records"));
        }
    }
}

impl Folder {
    fn open(path: &Path, columns: FlowColumns) -> io::Result<Self> {
        Ok(Self { tables: Tables::open(path, columns)?, state: State::Writing, rows: 0, rows_lost: 0 })
    }

    fn row(&mut self, write: impl FnOnce(&mut Tables) -> io::Result<()>) {
        self.rows += 1;
        self.attempt(write);
    }

    fn finish(&mut self) {
        self.attempt(Tables::finish);
    }

    /// Without its footer a file cannot be read: a table that fails takes all rows with it.
    fn attempt(&mut self, write: impl FnOnce(&mut Tables) -> io::Result<()>) {
        if matches!(self.state, State::Writing)
            && let Err(error) = write(&mut self.tables)
        {
            self.state = State::Failed(error);
        }
        if !matches!(self.state, State::Writing) {
            self.rows_lost += std::mem::take(&mut self.rows);
        }
    }
}

#[cfg(test)]
impl Writer {
    /// An output that is open already.
    pub(super) fn over(target: fn(Destination) -> Target, output: Output) -> Self {
        let target = target(output.destination().clone());
        let stream = match target {
            Target::Jsonl(_) => Stream::Jsonl(output),
            Target::Csv(_) => Stream::Csv(output),
            Target::Parquet(_) | Target::Ipfix(_) => panic!("these are no streams"),
        };
        Self { target, stream, told: false }
    }
}
