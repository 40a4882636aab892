//! Writes the rows of one output in its format, on the thread of the output.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::account::Account;
use super::alarms::Alarms;
use super::backoff::Backoff;
use super::batch::Batch;
use super::ipfix::Exporter;
use super::notify::Notify;
use super::origin::Origin;
use super::output::{Output, OutputState};
use super::pace::Pace;
use super::parquet::Tables;
use super::report::Summary;
use super::rotation::{LIVE_TABLES, Rotation};
use super::row::each_row;
use super::streams::RowStream;
#[cfg(test)]
use super::target::Destination;
use super::target::{FileTarget, Target};
use super::{csv, jsonl};
use crate::features::RowColumns;

/// An output with its format.
pub(super) struct Writer {
    stream: Stream,
    account: Arc<Account>,
}

enum Stream {
    Jsonl(Output),
    Csv(Output),
    Parquet(Box<Folder>),
    Ipfix(Box<Exporter>),
    Alarms(Alarms),
    Rows(Box<RowStream>),
}

/// A folder of tables.
struct Folder {
    tables: Tables,
    state: OutputState,
    /// Number of rows in incomplete files.
    rows: u64,
    target: FileTarget,
    rotation: Rotation,
    columns: RowColumns,
    /// Time of the next retry after a failure.
    backoff: Option<Backoff>,
}

impl Writer {
    /// Opens the output of an `-o` option, for flows with these columns.
    pub(super) fn open(
        target: &Target,
        columns: RowColumns,
        pace: Pace,
        account: &Arc<Account>,
        origin: Origin,
        notify: Notify,
    ) -> io::Result<Self> {
        let stream = match target {
            Target::Jsonl(destination) => Stream::Jsonl(Output::open(destination.clone(), Arc::clone(account))?),
            Target::Csv(destination) => {
                let mut output = Output::open(destination.clone(), Arc::clone(account))?;
                output.header(|line| csv::write_header(line, columns))?;
                Stream::Csv(output)
            }
            Target::Parquet(folder) => Stream::Parquet(Box::new(Folder::open(folder, columns, pace, account)?)),
            Target::Ipfix(collector) => {
                Stream::Ipfix(Box::new(Exporter::open(collector, columns.tunnels, pace, account)?))
            }
            Target::Alarms(receiver) => Stream::Alarms(Alarms::open(receiver, origin, pace, account)?),
            Target::Rows(peer) => Stream::Rows(Box::new(RowStream::open(peer, origin, pace, account, notify)?)),
        };
        Ok(Self { stream, account: Arc::clone(account) })
    }

    /// Writes a batch. `first` is the sequence number of its first row.
    pub(super) fn take(&mut self, batch: &Batch, first: u64) {
        match &mut self.stream {
            Stream::Jsonl(output) => each_row(batch, output),
            Stream::Csv(output) => {
                if let Batch::Flows(rows) = batch {
                    rows.iter().for_each(|(row, verdict)| {
                        output.row(|line| csv::write_flow(line, row, verdict.as_ref()));
                    });
                }
            }
            Stream::Parquet(folder) => folder.take(batch, &self.account),
            Stream::Ipfix(exporter) => {
                if let Batch::Flows(rows) = batch {
                    rows.iter().for_each(|(row, verdict)| exporter.flow(row, verdict.as_ref()));
                }
            }
            Stream::Alarms(alarms) => alarms.take(batch),
            Stream::Rows(stream) => stream.take(batch, first),
        }
    }

    /// Writes a batch, or counts its rows as lost if the time is short. Rows for a collector or a receiver are always
    /// written: its exporter counts them and never blocks.
    pub(super) fn take_or_lose(&mut self, batch: &Batch, first: u64) {
        let (flows, all) = batch.rows();
        match &self.stream {
            Stream::Csv(_) if self.account.hurries() => self.account.add_lost(flows),
            Stream::Jsonl(_) | Stream::Parquet(_) | Stream::Rows(_) if self.account.hurries() => {
                self.account.add_lost(all);
            }
            _ => self.take(batch, first),
        }
    }

    /// Whether rows are sent in large requests, so that it flushes only if no more rows wait for it.
    pub(super) const fn gathers(&self) -> bool {
        matches!(self.stream, Stream::Rows(_))
    }

    /// Writes buffered rows, and rotates tables if due.
    pub(super) fn flush(&mut self) {
        match &mut self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.flush(),
            Stream::Parquet(folder) => folder.rotate(&self.account),
            Stream::Ipfix(exporter) => exporter.flush(),
            Stream::Alarms(_) => {}
            Stream::Rows(stream) => stream.flush(),
        }
    }

    /// Writes the summary, if the format has it.
    pub(super) fn summary(&mut self, summary: &Summary, sequence: u64) {
        match &mut self.stream {
            Stream::Jsonl(output) => output.row(|line| jsonl::write_summary(line, summary, None)),
            Stream::Rows(stream) => stream.summary(summary, sequence),
            Stream::Csv(_) | Stream::Parquet(_) | Stream::Ipfix(_) | Stream::Alarms(_) => {}
        }
    }

    /// Ends the output.
    pub(super) fn finish(&mut self) {
        match &mut self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.finish(),
            Stream::Parquet(folder) => folder.finish(&self.account),
            Stream::Ipfix(exporter) => exporter.finish(),
            Stream::Alarms(alarms) => alarms.finish(),
            Stream::Rows(stream) => stream.flush(),
        }
    }

    /// The state of the output.
    pub(super) fn state(&self) -> &OutputState {
        match &self.stream {
            Stream::Jsonl(output) | Stream::Csv(output) => output.state(),
            Stream::Parquet(folder) => &folder.state,
            Stream::Ipfix(_) | Stream::Alarms(_) | Stream::Rows(_) => &OutputState::Writing,
        }
    }

    /// Messages about the state of the collector or receiver that were not reported yet.
    pub(super) fn notices(&mut self) -> Vec<String> {
        match &mut self.stream {
            Stream::Ipfix(exporter) => exporter.notices().into_iter().collect(),
            Stream::Alarms(alarms) => alarms.notices(),
            Stream::Jsonl(_) | Stream::Csv(_) | Stream::Parquet(_) | Stream::Rows(_) => Vec::new(),
        }
    }
}

impl Folder {
    fn open(target: &FileTarget, columns: RowColumns, pace: Pace, account: &Arc<Account>) -> io::Result<Self> {
        let usual = if pace == Pace::Live { LIVE_TABLES } else { Rotation::Never };
        let (target, rotation) = (target.clone(), target.rotation.unwrap_or(usual));
        let tables = Tables::open(&target, rotation, columns, account)?;
        Ok(Self { tables, state: OutputState::Writing, rows: 0, target, rotation, columns, backoff: None })
    }

    fn take(&mut self, batch: &Batch, account: &Arc<Account>) {
        if self.backoff.as_mut().is_some_and(|backoff| backoff.is_due(Instant::now()))
            && let Ok(tables) = Tables::open(&self.target, self.rotation, self.columns, account)
        {
            (self.tables, self.state, self.backoff) = (tables, OutputState::Writing, None);
        }
        self.rows += batch.rows().1;
        self.attempt(account, |tables| tables.take(batch));
        self.rotate(account);
    }

    /// Ends the files if a rotation is due.
    fn rotate(&mut self, account: &Account) {
        let now = SystemTime::now();
        if matches!(self.state, OutputState::Writing)
            && self.rotation.ends(self.tables.begun(), now, self.tables.bytes())
        {
            self.finish(account);
            self.tables.begin(now);
        }
    }

    fn finish(&mut self, account: &Account) {
        self.attempt(account, Tables::finish);
        account.add_written(std::mem::take(&mut self.rows));
    }

    /// Runs `write`. A file without its footer cannot be read, so a failure loses all rows of the open files. New files
    /// are opened later.
    fn attempt(&mut self, account: &Account, write: impl FnOnce(&mut Tables) -> io::Result<()>) {
        if matches!(self.state, OutputState::Writing)
            && let Err(error) = write(&mut self.tables)
        {
            self.state = OutputState::Failed(error);
            self.tables.discard();
            self.backoff = Some(Backoff::begin(Instant::now()));
        }
        if !matches!(self.state, OutputState::Writing) {
            account.add_lost(std::mem::take(&mut self.rows));
        }
    }
}

#[cfg(test)]
impl Writer {
    /// An output that is already open.
    pub(super) fn over(target: fn(Destination) -> Target, output: Output) -> (Target, Self) {
        let account = output.account();
        let target = target(output.destination().clone());
        let stream = match target {
            Target::Jsonl(_) => Stream::Jsonl(output),
            Target::Csv(_) => Stream::Csv(output),
            Target::Parquet(_) | Target::Ipfix(_) | Target::Alarms(_) | Target::Rows(_) => {
                panic!("these are no streams")
            }
        };
        (target, Self { stream, account })
    }
}
