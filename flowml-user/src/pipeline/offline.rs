//! The offline run: captures through the parser and the table of the kernel, and then the way of every epoch.

use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bytemuck::Zeroable;
use flowml_common::counts::Counted;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, Head, Metered, OVERFLOW_PROTOCOLS, Seed, Shape};
use rand::RngCore;
use rand::rngs::OsRng;

use super::epochs::{Epochs, Passed};
use super::learners::{Begin, Builtin, Learners, is_file};
use super::progress::Progress;
use super::{Finished, Pipeline, inspector};
use crate::capture::file::{self, CaptureFile, Captured, FileError, Signals, link};
use crate::capture::vectors::VecTable;
use crate::cli::Read;
use crate::features::FlowColumns;
use crate::model::{ModelError, Settings};
use crate::record::Clock;
use crate::sink::{Console, InterfaceReport, Pace, Sinks};

/// Flows in the table before it is emptied early. Larger tables are slower, as less of them is in the CPU's caches.
pub const CAPACITY: u32 = 32_768;

/// Frames between two looks at the signals and at the progress.
const LOOK_EVERY: u32 = 4096;

/// What stands for the hook in the summary.
const FILE: &str = "file";

/// The flow table of an offline run.
pub trait FileTable {
    /// Counts a frame. Where the answer is that the table is full, the frame comes again after the next drain.
    fn meter(&mut self, captured: &Captured<'_>) -> Result<Metered>;

    /// Empties the table, and shows what it counted.
    fn drain(&mut self, absorb: impl FnOnce(&Head, &[Counted<'_>])) -> Result<()>;
}

impl FileTable for VecTable {
    fn meter(&mut self, captured: &Captured<'_>) -> Result<Metered> {
        Ok(link::meter(self, captured))
    }

    fn drain(&mut self, absorb: impl FnOnce(&Head, &[Counted<'_>])) -> Result<()> {
        absorb(self.counts(), &self.flows().collect::<Vec<_>>());
        self.clear();
        Ok(())
    }
}

/// A table in memory, with a secret of its own.
#[must_use]
pub fn table() -> VecTable {
    let mut seed = Seed::zeroed();
    OsRng.fill_bytes(bytemuck::bytes_of_mut(&mut seed));
    VecTable::new(Shape::for_capacity(CAPACITY), seed)
}

/// A table between captures and pipeline.
pub struct Offline<T> {
    table: T,
    pipeline: Pipeline,
    epochs: Epochs,
    /// Frames in the table, or skipped, since it was emptied: its counters have 32 bits.
    counted: u32,
}

impl<T: FileTable> Offline<T> {
    /// Counts into `table`, which is emptied into `pipeline` whenever one of `epochs` ends.
    pub const fn new(table: T, pipeline: Pipeline, epochs: Epochs) -> Self {
        Self { table, pipeline, epochs, counted: 0 }
    }

    /// Counts a frame. Breaks where the run is to end, because the reader of standard output has gone.
    ///
    /// # Errors
    /// Those of the table.
    #[inline]
    pub fn count(&mut self, captured: &Captured<'_>) -> Result<ControlFlow<()>> {
        let mut flow = ControlFlow::Continue(());
        while let Some(passed) = self.epochs.before(captured.time_ns, || self.pipeline.next_due_ns()) {
            if self.pass(passed)?.is_break() {
                flow = ControlFlow::Break(());
            }
        }
        if self.counted == u32::MAX || self.table.meter(captured)? == Metered::Skipped(Skipped::TableFull) {
            self.drain()?;
            self.table.meter(captured)?;
        }
        self.counted += 1;
        Ok(flow)
    }

    #[cold]
    fn pass(&mut self, passed: Passed) -> Result<ControlFlow<()>> {
        self.drain()?;
        match passed {
            Passed::End(at_ns) => return Ok(self.pipeline.end_interval(at_ns, Clock::default())),
            Passed::Begin(at_ns) => self.pipeline.begin(at_ns, Clock::default()),
            Passed::Silence { intervals, silence_ns } => self.pipeline.pass(intervals, silence_ns),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn drain(&mut self) -> Result<()> {
        self.counted = 0;
        let pipeline = &mut self.pipeline;
        self.table.drain(|head, flows| {
            let head = without_overflow(*head);
            if head.received.packets > 0 {
                pipeline.absorb(&head, flows.len() as f64 / f64::from(CAPACITY), flows.iter().copied());
            }
        })
    }

    /// The table.
    pub const fn table(&mut self) -> &mut T {
        &mut self.table
    }

    /// Tells people what went wrong.
    pub fn warn(&mut self, text: &str) {
        self.pipeline.warn(text);
    }

    /// Ends the last epoch with the last packet, and the run.
    ///
    /// # Errors
    /// Those of the table.
    pub fn finish(mut self) -> Result<Finished> {
        self.drain()?;
        if let Some(latest_ns) = self.epochs.latest_ns() {
            // Where the reader of standard output has gone, this is the end anyway.
            let _reader_gone = self.pipeline.end_interval(latest_ns, Clock::default());
        }
        Ok(self.pipeline.finish(Clock::default()))
    }
}

/// The counts without packets that found the table full: they are counted when they come again.
fn without_overflow(mut head: Head) -> Head {
    let full = std::mem::take(&mut head.skipped[Skipped::TableFull as usize]);
    head.received = Count { packets: head.received.packets - full.packets, bytes: head.received.bytes - full.bytes };
    head.overflow = [Count::default(); OVERFLOW_PROTOCOLS.len()];
    head
}

/// Reads captures, one after the other.
///
/// # Errors
/// Where it cannot begin, where an output failed, and where a file could not be read to its end; then all that could be
/// read is in the records.
pub fn run(arguments: &Read) -> Result<()> {
    let signals = Signals::listen().context("cannot listen for signals")?;
    let inspector = inspector(&arguments.content)?;
    let columns = FlowColumns::of(inspector.as_ref());
    let learners = learners(arguments, columns)?;
    let console = Console::on_standard_error(arguments.verbosity());
    let mut sinks = Sinks::open(&arguments.outputs, columns, Pace::Offline, console)?;
    if learners.is_none() {
        sinks.notice("nothing is learnt or scored: that takes '--model FILE' or '--learn'");
    }
    let timeouts = arguments.timeouts();
    let interfaces = arguments.files.iter().map(|path| report(path)).collect();
    let pipeline = Pipeline::new(timeouts, interfaces, learners, sinks, 0, arguments.seed).with_inspector(inspector);
    let table = table().with_boundaries(timeouts.boundaries()).with_payload(arguments.content.limit());
    let mut offline = Offline::new(table, pipeline, Epochs::new(arguments.interval, timeouts.idle));

    let mut errors = Vec::new();
    for path in &arguments.files {
        let (read, problems) = read(path, arguments.shows_progress(), &mut offline, &signals)?;
        errors.extend(problems);
        if read.is_break() {
            break;
        }
    }
    let finished = offline.finish()?;
    if let (Some(learners), Some(path)) = (finished.learners, arguments.model.as_deref().filter(|path| is_file(path))) {
        learners.save(path)?;
    }
    finished.outputs?;
    if !finished.conserved {
        bail!("the account does not balance: packets received are not those in flows and those skipped");
    }
    match errors.as_slice() {
        [] => Ok(()),
        errors => bail!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nflowml: ")),
    }
}

/// The learners, where rows are to be scored.
fn learners(arguments: &Read, columns: FlowColumns) -> Result<Option<Learners>, ModelError> {
    let settings = Settings { seed: arguments.seed, ..Settings::default() };
    let begin = match &arguments.model {
        None => arguments.learn.then_some(Begin::Anew),
        Some(path) => Some(match Builtin::named(path) {
            Some(which) => Begin::Builtin(which),
            None if path.exists() => Begin::File(path),
            None => Begin::Anew,
        }),
    };
    begin.map(|begin| Learners::begin(begin, columns, &settings, arguments.alarms.level())).transpose()
}

fn report(path: &Path) -> InterfaceReport {
    InterfaceReport { name: file::name(path), xdp_mode: FILE }
}

/// Counts the frames of a file; breaks where the run is to end. What is wrong with the file is no error of the run.
fn read<T: FileTable>(
    path: &Path,
    shows_progress: bool,
    offline: &mut Offline<T>,
    signals: &Signals,
) -> Result<(ControlFlow<()>, Vec<FileError>)> {
    let mut file = match CaptureFile::open_until(path, signals) {
        Ok(file) => file,
        Err(error) if error.is_stopped() => return Ok((ControlFlow::Break(()), Vec::new())),
        Err(error) => return Ok((ControlFlow::Continue(()), vec![error])),
    };
    let progress = shows_progress.then(|| Progress::begin(path, file.bytes_read()));
    let end = loop {
        if signals.have_come()? {
            break Ok(ControlFlow::Break(()));
        }
        if let Some(progress) = &progress {
            progress.show();
        }
        match count_some(&mut file, offline)? {
            Ok(Some(ControlFlow::Continue(()))) => {}
            Ok(Some(ControlFlow::Break(()))) => break Ok(ControlFlow::Break(())),
            Ok(None) => break Ok(ControlFlow::Continue(())),
            Err(error) if error.is_stopped() => break Ok(ControlFlow::Break(())),
            Err(error) => break Err(error),
        }
    };
    let mut problems = file.left_out();
    let flow = end.unwrap_or_else(|error| {
        problems.push(error);
        ControlFlow::Continue(())
    });
    Ok((flow, problems))
}

/// Counts all frames of a file, and says what is wrong with it, if anything. `counted` is told how many there are by now.
pub(super) fn count_whole<T: FileTable>(
    path: &Path,
    offline: &mut Offline<T>,
    mut counted: impl FnMut(u64),
) -> Result<Vec<FileError>> {
    let mut file = match CaptureFile::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(vec![error]),
    };
    let mut frames = 0;
    let end = loop {
        counted(frames);
        match count_some(&mut file, offline)? {
            Ok(Some(_)) => frames += u64::from(LOOK_EVERY),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Ok(file.left_out().into_iter().chain(end).collect())
}

/// Counts the next frames; `None` at the end of the file.
fn count_some<T: FileTable>(
    file: &mut CaptureFile,
    offline: &mut Offline<T>,
) -> Result<Result<Option<ControlFlow<()>>, FileError>> {
    for _ in 0..LOOK_EVERY {
        match file.next_frame() {
            Ok(Some(captured)) => {
                if offline.count(&captured)?.is_break() {
                    return Ok(Ok(Some(ControlFlow::Break(()))));
                }
            }
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(Some(ControlFlow::Continue(()))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::file::link::LinkType;
    use crate::session::Timeouts;
    use crate::sink::Verbosity;

    #[test]
    fn a_table_is_emptied_before_its_counters_overflow() {
        let console = Console::on_standard_error(Verbosity::Errors);
        let sinks = Sinks::open(&[], FlowColumns::Headers, Pace::Offline, console);
        let sinks = sinks.expect("there is nothing to open");
        let timeouts = Timeouts::default();
        let pipeline = Pipeline::new(timeouts, Vec::new(), None, sinks, 0, 0);
        let mut offline = Offline::new(table(), pipeline, Epochs::new(Duration::from_secs(1), timeouts.idle));
        let frame = Captured { time_ns: 5, length: 60, interface: 1, link: LinkType::Raw, bytes: &[0x45; 60] };
        for (counted, expected) in [(0, 1), (u32::MAX - 1, 2), (u32::MAX, 1)] {
            offline.counted = counted;
            assert!(offline.count(&frame).expect("memory does not fail").is_continue());
            assert_eq!(offline.table.counts().received.packets, expected, "behind {counted} frames");
        }
        assert_eq!(offline.counted, 1);
        assert!(offline.finish().expect("memory does not fail").conserved);
    }
}
