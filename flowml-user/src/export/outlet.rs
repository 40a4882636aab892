//! Runs an output on its own thread behind a bounded queue, so that a slow output delays nothing else.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Account;
use super::batch::Batch;
use super::ending::Ending;
use super::notify::Notify;
use super::origin::Origin;
use super::output::OutputState;
use super::pace::Pace;
use super::report::{CollectorReport, OutputLine, OutputLoss, Summary};
use super::target::{Taken, Target};
use super::writer::Writer;
use crate::features::RowColumns;
use crate::process::capabilities::{self, CapabilitySet};
use crate::process::queue::Queue;

/// Maximum memory of the rows queued for one output, bytes. That is more than the flows and host windows of a scan of
/// all 65,536 ports, which may end together. Outputs that queue the same rows share them.
const ROOM: usize = 256 << 20;

/// Time for which the start of a run waits until an output is open, so that an invalid path ends the run. A FIFO may
/// have to wait for its reader, and opens while the run continues.
const OPEN_LIMIT: Duration = Duration::from_secs(1);

/// At the end of a run an output that has waited for the system for this time is abandoned.
const STALLED: Duration = Duration::from_secs(1);

/// When the time is too short for all queued rows, rows are lost until the queue has at most this many bytes.
const LAST_ROWS: usize = 64 << 20;

/// Interval at which the end of a run checks the outputs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The next task of an output's thread.
enum Work {
    /// Rows, and the sequence number of the first one.
    Rows(Arc<Batch>, u64),
    /// Pass all earlier rows to the system.
    Flush,
    /// The same, then report [`Report::Settled`].
    Settle,
    /// The summary, and its sequence number.
    Summary(Box<Summary>, u64),
}

/// A report from an output's thread.
enum Report {
    Opened,
    /// The output failed. Its further rows are lost, permanently or until it recovers.
    Failed(OutputState),
    /// The output accepts rows again.
    Recovered,
    Notice(String),
    /// All rows before [`Work::Settle`] were passed to the system.
    Settled,
}

/// An output, as used by the thread that makes the rows.
pub(super) struct Outlet {
    target: Target,
    pace: Pace,
    queue: Arc<Queue<Work>>,
    account: Arc<Account>,
    reports: Receiver<Report>,
    /// Rows given to the output.
    given: u64,
    /// Rows given to the output that were dropped, mostly because the queue was full.
    dropped: u64,
    /// Whether rows were dropped since the output was last reported to accept rows.
    drops: bool,
    /// Time of the last flush, and how long the output's thread had waited for the system until then.
    flushed: (Instant, Duration),
    /// Whether the output's thread was busy for most of the time before the last flush.
    is_busy: bool,
    /// The last reported state.
    state: OutputState,
    settled: bool,
    /// Whether the output's thread has ended, or was abandoned.
    over: bool,
    notices: Vec<String>,
}

impl Outlet {
    /// Opens the output of an `-o` option, for flows with these columns.
    ///
    /// # Errors
    /// If the output fails to open within a second. A later failure is reported while the run continues.
    pub(super) fn open(
        target: &Target,
        columns: impl Into<RowColumns>,
        pace: Pace,
        origin: &Origin,
    ) -> io::Result<Self> {
        let (of_thread, columns, origin) = (target.clone(), columns.into(), origin.clone());
        let open = move |account: &_, notify| Writer::open(&of_thread, columns, pace, account, origin, notify);
        let mut outlet = Self::begin(target, pace, ROOM, Arc::new(Account::new()), open)?;
        let limit = if target.is_fifo() { Duration::ZERO } else { OPEN_LIMIT };
        match outlet.reports.recv_timeout(limit) {
            Ok(Report::Failed(OutputState::Failed(error))) => return Err(error),
            Ok(report) => outlet.note(report),
            Err(_) => outlet.notices.push(format!("{target} is not open yet: its rows wait in memory")),
        }
        Ok(outlet)
    }

    /// Starts the thread, which opens the destination.
    fn begin(
        target: &Target,
        pace: Pace,
        room: usize,
        account: Arc<Account>,
        open: impl FnOnce(&Arc<Account>, Notify) -> io::Result<Writer> + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(room));
        let (sender, reports) = channel();
        let (of_thread, own_account, notices) = (Arc::clone(&queue), Arc::clone(&account), sender.clone());
        let notify = Box::new(move |notice| drop(notices.send(Report::Notice(notice))));
        // A file that root may open at the start may be opened again later. A peer needs no capability. If the system
        // refuses to drop them, nothing is lost.
        let kept = if target.is_remote() { CapabilitySet::empty() } else { CapabilitySet::DAC_OVERRIDE };
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            let _ = capabilities::keep(kept);
            let _abandoned = of_thread.abandon_at_end();
            match open(&own_account, notify) {
                Ok(writer) => work(writer, &of_thread, &sender),
                Err(error) => drop(sender.send(Report::Failed(OutputState::Failed(error)))),
            }
        })?;
        Ok(Self {
            target: target.clone(),
            pace,
            queue,
            account,
            reports,
            given: 0,
            dropped: 0,
            drops: false,
            flushed: (Instant::now(), Duration::ZERO),
            is_busy: false,
            state: OutputState::Writing,
            settled: false,
            over: false,
            notices: Vec::new(),
        })
    }

    /// The destination of the rows.
    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// Queues rows. If the queue is full, a run over files waits for space. So does a live run after the start of its
    /// `ending`. Otherwise rows that do not fit are dropped.
    pub(super) fn take(&mut self, batch: &Arc<Batch>, bytes: usize, ending: &Ending) {
        let (flows, all) = batch.rows();
        let rows = match self.target.taken() {
            Taken::All => all,
            Taken::Tables if batch.is_of_tables() => all,
            Taken::Tables => 0,
            Taken::Flows => flows,
            Taken::Incidents => batch.incidents(),
        };
        if rows == 0 {
            return;
        }
        let work = Work::Rows(Arc::clone(batch), self.given);
        self.given += rows;
        let taken = if self.over || matches!(self.state, OutputState::ReaderGone) {
            Err(work)
        } else if self.pace == Pace::Offline || ending.has_begun() {
            self.queue.push(work, bytes, || !self.is_given_up(ending))
        } else {
            self.queue.offer(work, bytes)
        };
        if taken.is_err() {
            self.dropped += rows;
            self.report_drop();
        }
    }

    /// Counts flows that get no record as lost.
    pub(super) fn lose(&mut self, flows: u64) {
        if self.takes_rows() {
            self.given += flows;
            self.dropped += flows;
        }
    }

    /// Whether it takes other rows than events of incidents.
    pub(super) const fn takes_rows(&self) -> bool {
        !self.target.takes_only_incidents()
    }

    /// Reduces the memory limit of queued rows to `bytes` at most.
    pub(super) fn set_room(&self, bytes: usize) {
        self.queue.set_room(bytes.min(self.queue.room()));
    }

    /// The fill level of the queue, 0 to 1, if the output's thread is busy; else 0.
    pub(super) fn pressure(&self) -> f64 {
        if self.is_busy && !self.over { self.queue.fill() } else { 0.0 }
    }

    fn report_drop(&mut self) {
        if !self.drops && matches!(self.state, OutputState::Writing) {
            self.drops = true;
            self.notices.push(format!(
                "{} takes rows too slowly: {} MiB of rows wait, and further rows are lost and counted until there is room; \
                 metering continues",
                self.target,
                self.queue.room() >> 20
            ));
        }
    }

    /// Requests a flush, and processes the thread's reports.
    pub(super) fn flush(&mut self) {
        // A full queue means that the thread has enough to write.
        let _ = self.queue.offer(Work::Flush, size_of::<Work>());
        self.look();
        let (now, waited) = (Instant::now(), self.account.waited());
        let (then, waited_then) = std::mem::replace(&mut self.flushed, (now, waited));
        self.is_busy = 2 * waited.saturating_sub(waited_then) < now - then;
        if self.drops && self.queue.fill() < 0.5 {
            self.drops = false;
            self.notices.push(format!("{} takes rows again; {} rows were lost so far", self.target, self.rows().1));
        }
    }

    /// The end of a live run begins. From now on the output does not wait for a peer that is away.
    pub(super) fn end(&self) {
        self.account.end();
    }

    /// Requests that all earlier rows are passed to the system, at the end of the run.
    pub(super) fn settle(&self) {
        self.queue.force(Work::Settle);
    }

    /// Queues the summary.
    pub(super) fn summary(&mut self, summary: Summary) {
        self.queue.force(Work::Summary(Box::new(summary), self.given));
        self.given += 1;
    }

    /// Closes the queue: nothing follows.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// Waits until all rows were passed to the system and, if `until_end`, until the output has ended. If the run is to
    /// end soon, an output that blocks for long is abandoned.
    pub(super) fn wait(&mut self, until_end: bool, ending: &Ending) {
        while !self.over && (until_end || !self.settled) {
            match self.reports.recv_timeout(LOOK_EVERY) {
                Ok(report) => self.note(report),
                Err(RecvTimeoutError::Disconnected) => self.over = true,
                Err(RecvTimeoutError::Timeout) => {
                    if self.is_given_up(ending) {
                        self.give_up();
                    }
                }
            }
        }
    }

    /// Whether the wait for this output ends. If time is short, the output is also asked to leave rows out.
    fn is_given_up(&self, ending: &Ending) -> bool {
        if ending.has_begun() {
            self.account.end();
        }
        if ending.closing().is_late() {
            self.account.hurry();
        }
        ending.gives_up(self.account.waits() >= STALLED)
    }

    fn give_up(&mut self) {
        self.over = true;
        if self.rows().1 > 0 {
            self.notices.push(format!(
                "{} does not take its last rows: it was abandoned, and {} of its rows were lost",
                self.target,
                self.rows().1
            ));
        }
    }

    /// Processes the thread's reports.
    fn look(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.note(report);
        }
    }

    fn note(&mut self, report: Report) {
        match report {
            Report::Opened => {}
            Report::Failed(state) => {
                if let OutputState::Failed(error) = &state {
                    let target = &self.target;
                    self.notices.push(format!(
                        "cannot write to {target}: {error}; its further rows are lost and counted until it can be written \
                         again; metering continues"
                    ));
                }
                self.state = state;
            }
            Report::Recovered => {
                self.state = OutputState::Writing;
                self.notices.push(format!(
                    "{} is written again; {} of its rows were lost so far",
                    self.target,
                    self.rows().1
                ));
            }
            Report::Notice(notice) => self.notices.push(notice),
            Report::Settled => self.settled = true,
        }
    }

    /// Whether standard output was closed by its reader.
    pub(super) const fn is_reader_gone(&self) -> bool {
        matches!(self.state, OutputState::ReaderGone)
    }

    /// Whether the loss of rows is an error. In a live run, lost rows of a collector or receiver are not.
    pub(super) fn has_losses(&self) -> bool {
        match (&self.state, &self.target) {
            (OutputState::ReaderGone, _) => false,
            (OutputState::Failed(_), _) => true,
            (OutputState::Writing, target) if target.is_remote() => self.pace == Pace::Offline && self.rows().1 > 0,
            (OutputState::Writing, _) => self.rows().1 > 0,
        }
    }

    /// Messages about the output that were not reported yet.
    pub(super) fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The number of rows written or queued, and the number lost.
    pub(super) fn rows(&self) -> (u64, u64) {
        let written = self.account.written();
        // After the thread has ended, every row that is not written is lost.
        let lost = if self.over { self.given - written } else { self.dropped + self.account.lost() };
        (self.given - lost, lost)
    }

    /// The counts of a collector or receiver; `None` for other outputs.
    pub(super) fn collector(&self) -> Option<CollectorReport> {
        let (sent, lost) = self.rows();
        let destination = self.target.to_string();
        self.target.is_remote().then_some(CollectorReport { destination, sent, lost })
    }

    /// The lost rows, if there are any and the output is no collector or receiver.
    pub(super) fn loss(&self) -> Option<OutputLoss> {
        let (_, rows_lost) = self.rows();
        let counts = self.collector().is_none() && !self.is_reader_gone() && rows_lost > 0;
        counts.then(|| OutputLoss { destination: self.target.to_string(), rows_lost })
    }

    /// The output's line in the closing summary.
    pub(super) fn line(&self) -> OutputLine {
        let (rows, rows_lost) = self.rows();
        OutputLine { destination: self.target.to_string(), rows, rows_lost, reader_gone: self.is_reader_gone() }
    }
}

/// The work of an output's thread. The run ignores the reports of an abandoned output.
fn work(mut writer: Writer, queue: &Queue<Work>, reports: &Sender<Report>) {
    let report = |report| drop(reports.send(report));
    report(Report::Opened);
    let mut reported = false;
    while let Some(work) = queue.next() {
        match &work {
            Work::Rows(batch, first) if queue.bytes() > LAST_ROWS => writer.take_or_lose(batch, *first),
            Work::Rows(batch, first) => writer.take(batch, *first),
            // The rows that wait in the queue are sent together with these.
            Work::Flush if writer.gathers() && queue.bytes() > size_of::<Work>() => {}
            Work::Flush | Work::Settle => {
                writer.flush();
                writer.notices().into_iter().for_each(|notice| report(Report::Notice(notice)));
            }
            Work::Summary(summary, sequence) => writer.summary(summary, *sequence),
        }
        match failure(writer.state()) {
            Some(state) if !reported => {
                reported = true;
                report(Report::Failed(state));
            }
            None if reported => {
                reported = false;
                report(Report::Recovered);
            }
            _ => {}
        }
        if matches!(work, Work::Settle) {
            report(Report::Settled);
        }
    }
    writer.finish();
    writer.notices().into_iter().for_each(|notice| report(Report::Notice(notice)));
    if !reported && let Some(state) = failure(writer.state()) {
        report(Report::Failed(state));
    }
}

/// The state, if it causes lost rows.
fn failure(state: &OutputState) -> Option<OutputState> {
    match state {
        OutputState::Writing => None,
        OutputState::ReaderGone => Some(OutputState::ReaderGone),
        OutputState::Failed(error) => Some(OutputState::Failed(match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        })),
    }
}

/// The value of [`ROOM`] in tests.
#[cfg(test)]
pub(super) const ROOM_OF_TESTS: usize = 4 << 20;

#[cfg(test)]
impl Outlet {
    /// An output that is already open.
    pub(super) fn over(target: fn(super::Destination) -> Target, output: super::output::Output) -> Self {
        Self::over_at(target, output, Pace::Live)
    }

    pub(super) fn over_at(target: fn(super::Destination) -> Target, output: super::output::Output, pace: Pace) -> Self {
        let account = output.account();
        let (target, writer) = Writer::over(target, output);
        Self::begin(&target, pace, ROOM_OF_TESTS, account, |_, _| Ok(writer)).expect("a thread")
    }
}
