//! One output with its format: what becomes of each kind of row.

use std::io;
use std::path::PathBuf;

use super::output::{Output, State};
use super::parquet::Tables;
use super::report::{Rows, Totals};
use super::target::{Destination, Format, Target, TargetError};
use super::view::OutputLine;
use super::{csv, jsonl};
use crate::features::{FlowColumns, FlowRow, HostWindow};
use crate::incident::{Incident, State as Stage};
use crate::model::Verdict;
use crate::record::Clock;

/// An output and how it is written.
pub(super) struct Writer {
    stream: Stream,
    /// Whether people were told of its failure.
    pub(super) told: bool,
}

enum Stream {
    Jsonl(Output),
    Csv(Output),
    Parquet(Box<Folder>),
}

/// A folder of tables, with the account of its rows.
struct Folder {
    destination: Destination,
    tables: Tables,
    state: State,
    rows: u64,
    rows_lost: u64,
}

impl Writer {
    /// Opens what `-o` names, for flows that have these columns.
    pub(super) fn open(Target { format, destination }: &Target, columns: FlowColumns) -> io::Result<Self> {
        let stream = match format {
            Format::Jsonl => Stream::Jsonl(Output::open(destination.clone())?),
            Format::Csv => {
                let mut output = Output::open(destination.clone())?;
                output.header(|line| csv::write_header(line, columns))?;
                Stream::Csv(output)
            }
            Format::Parquet => {
                let Destination::File(folder) = destination else { return Err(io::Error::other(TargetError::Folder)) };
                Stream::Parquet(Box::new(Folder::open(folder.clone(), columns)?))
            }
        };
        Ok(Self { stream, told: false })
    }

    /// Takes a flow.
    pub(super) fn flow(&mut self, row: &FlowRow, verdict: Option<&Verdict>) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_flow(line, row, verdict)),
            Stream::Csv(output) => output.row(|line| csv::write_flow(line, row, verdict)),
            Stream::Parquet(folder) => folder.row(|tables| tables.flow(row, verdict)),
        }
    }

    /// Takes the anomaly that a flow is.
    pub(super) fn flow_anomaly(&mut self, row: &FlowRow, verdict: &Verdict) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_flow_anomaly(line, row, verdict)),
            Stream::Csv(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.flow_anomaly(row, verdict)),
        }
    }

    /// Takes the window of a host.
    pub(super) fn host(&mut self, window: &HostWindow, clock: Clock, verdict: Option<&Verdict>) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_host(line, window, clock, verdict)),
            Stream::Csv(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.host(window, clock, verdict)),
        }
    }

    /// Takes the anomaly that a host window is.
    pub(super) fn host_anomaly(&mut self, window: &HostWindow, clock: Clock, verdict: &Verdict) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_host_anomaly(line, window, clock, verdict)),
            Stream::Csv(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.host_anomaly(window, clock, verdict)),
        }
    }

    /// Takes what became of an incident.
    pub(super) fn incident(&mut self, stage: Stage, incident: &Incident, clock: Clock) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_incident(line, stage, incident, clock)),
            Stream::Csv(_) => {}
            Stream::Parquet(folder) => folder.row(|tables| tables.incident(stage, incident, clock)),
        }
    }

    /// Hands what it can to the system.
    pub(super) fn flush(&mut self) {
        if let Stream::Jsonl(output) | Stream::Csv(output) = &mut self.stream {
            output.flush();
        }
    }

    /// Ends the output with the summary, where the format has room for it.
    pub(super) fn finish(&mut self, totals: &Totals, rows: &Rows) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_summary(line, totals, rows)),
            Stream::Csv(_) => {}
            Stream::Parquet(folder) => folder.finish(),
        }
        self.flush();
    }

    /// Where its rows go.
    pub(super) fn destination(&self) -> &Destination {
        match &self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.destination(),
            Stream::Parquet(folder) => &folder.destination,
        }
    }

    /// How it is doing.
    pub(super) fn state(&self) -> &State {
        match &self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.state(),
            Stream::Parquet(folder) => &folder.state,
        }
    }

    /// Rows that were not, or not wholly, written.
    pub(super) fn rows_lost(&self) -> u64 {
        match &self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.rows_lost(),
            Stream::Parquet(folder) => folder.rows_lost,
        }
    }

    /// What people are told of it at the end.
    pub(super) fn line(&self) -> OutputLine {
        let rows = match &self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.rows(),
            Stream::Parquet(folder) => folder.rows,
        };
        OutputLine {
            destination: self.destination().to_string(),
            rows,
            rows_lost: self.rows_lost(),
            reader_gone: matches!(self.state(), State::ReaderGone),
        }
    }
}

impl Folder {
    fn open(path: PathBuf, columns: FlowColumns) -> io::Result<Self> {
        let tables = Tables::open(&path, columns)?;
        Ok(Self { destination: Destination::File(path), tables, state: State::Writing, rows: 0, rows_lost: 0 })
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
    pub(super) fn over(format: Format, output: Output) -> Self {
        let stream = match format {
            Format::Jsonl => Stream::Jsonl(output),
            Format::Csv => Stream::Csv(output),
            Format::Parquet => panic!("tables are files"),
        };
        Self { stream, told: false }
    }
}
