//! The offline run: counts the packets of captures with the parser and table of the kernel, and processes each epoch.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bytemuck::Zeroable;
use flowml_common::content::PayloadLimit;
use flowml_common::counts::Counted;
use flowml_common::packet::Skipped;
use flowml_common::table::{Count, Head, Metered, OVERFLOW_PROTOCOLS, Seed, Shape, Storage};
use rand::RngCore;
use rand::rngs::OsRng;

use super::ahead::Ahead;
use super::clocks::{Clocks, Irregular, Placed};
use super::epochs::{Epochs, Passed};
use super::processing::{Processing, Step};
use super::quiet::Quiet;
use super::{Finished, Pipeline};
use crate::capture::file::{CaptureFile, Captured, FileError};
use crate::capture::vectors::VecTable;
use crate::process::words::counted;

/// Flows in the table before it is drained early. Larger tables are slower, as less of them fits into the CPU's caches.
pub const CAPACITY: u32 = 32_768;

/// Frames between two checks of signals and progress.
const LOOK_EVERY: u32 = 4096;

/// The flow table of an offline run.
pub trait FileTable {
    /// Counts a frame. If the result is that the table is full, the frame is counted again after the next drain.
    fn meter(&mut self, captured: &Captured<'_>) -> Result<Metered>;

    /// The payload kept of each direction of a flow.
    fn kept_payload(&self) -> Option<PayloadLimit>;

    /// Drains the table, and passes its counts to `absorb`.
    fn drain(&mut self, absorb: impl FnOnce(&Head, &[Counted<'_>])) -> Result<()>;
}

impl FileTable for VecTable {
    fn meter(&mut self, captured: &Captured<'_>) -> Result<Metered> {
        Ok(captured.meter(self))
    }

    fn kept_payload(&self) -> Option<PayloadLimit> {
        self.payload_limit()
    }

    fn drain(&mut self, absorb: impl FnOnce(&Head, &[Counted<'_>])) -> Result<()> {
        absorb(self.counts(), &self.flows().collect::<Vec<_>>());
        self.clear();
        Ok(())
    }
}

/// A table in memory with a random hash seed.
#[must_use]
pub fn table() -> VecTable {
    let mut seed = Seed::zeroed();
    OsRng.fill_bytes(bytemuck::bytes_of_mut(&mut seed));
    VecTable::new(Shape::for_capacity(CAPACITY), seed)
}

/// Counts the packets of captures in a table, and drains it into a pipeline.
pub struct Offline<T> {
    table: T,
    processing: Processing,
    clocks: Clocks,
    ahead: Ahead,
    epochs: Epochs,
    quiet: Quiet,
    /// For interfaces whose clocks differ from that of the run: the shift that was added to their times, ns.
    shifts: HashMap<u32, i64>,
    /// Frames counted or skipped since the last drain, as the table's counters have 32 bits.
    counted: u32,
}

impl<T: FileTable> Offline<T> {
    /// Counts into `table`, and drains it into `pipeline` at the end of each of `epochs`. The pipeline runs on a thread of its own.
    ///
    /// # Errors
    /// If that thread cannot be started.
    pub fn new(table: T, pipeline: Pipeline, epochs: Epochs) -> Result<Self> {
        let processing = Processing::begin(pipeline)?;
        let clocks = Clocks::new(epochs.set_back_ns());
        let (ahead, quiet, shifts) = (Ahead::default(), Quiet::default(), HashMap::new());
        Ok(Self { table, processing, clocks, ahead, epochs, quiet, shifts, counted: 0 })
    }

    /// Counts a frame at its time of the run. Breaks if the run is to end because standard output was closed.
    ///
    /// # Errors
    /// If the table fails.
    #[inline]
    pub fn count(&mut self, captured: &Captured<'_>) -> Result<ControlFlow<()>> {
        if self.ahead.is_empty()
            && let Placed::At { time_ns, shift_ns } = self.clocks.place(captured.interface, captured.time_ns)
        {
            return self.count_at(&Captured { time_ns, ..*captured }, shift_ns);
        }
        self.ahead.push(captured);
        if self.clocks.knows(captured.interface) {
            self.release(self.clocks.run_ns(captured.interface, captured.time_ns))
        } else if self.ahead.is_full() {
            self.release(None)
        } else {
            Ok(ControlFlow::Continue(()))
        }
    }

    /// Counts the held frames. `now_ns` is the current time of the run, or None if no other clock shows it.
    #[cold]
    fn release(&mut self, now_ns: Option<u64>) -> Result<ControlFlow<()>> {
        let ahead = std::mem::take(&mut self.ahead);
        for (interface, span) in ahead.spans() {
            if self.clocks.is_ahead(interface, span[0]) {
                self.clocks.align(interface, span, now_ns);
            }
        }
        let mut flow = ControlFlow::Continue(());
        for captured in ahead.frames() {
            let placed = self.clocks.place(captured.interface, captured.time_ns);
            let Placed::At { time_ns, shift_ns } = placed else {
                // A clock that was set back has made the other clocks unknown.
                self.clocks.align(captured.interface, [captured.time_ns; 2], None);
                flow = later(flow, self.count_at(&captured, 0)?);
                continue;
            };
            flow = later(flow, self.count_at(&Captured { time_ns, ..captured }, shift_ns)?);
        }
        Ok(flow)
    }

    /// Counts a frame whose time is that of the run; it differs by `shift_ns` from that of its interface.
    #[inline]
    fn count_at(&mut self, captured: &Captured<'_>, shift_ns: i64) -> Result<ControlFlow<()>> {
        if self.quiet.is_silent() {
            self.quiet.end(captured.time_ns.saturating_sub(self.epochs.latest_ns().unwrap_or_default()));
        }
        let mut flow = ControlFlow::Continue(());
        while let Some(passed) = self.epochs.before(captured.time_ns, || self.processing.next_due_ns()) {
            if self.pass(passed)?.is_break() {
                flow = ControlFlow::Break(());
            }
        }
        if shift_ns != 0 {
            flow = later(flow, self.shift(captured.frame().interface, shift_ns));
        }
        if self.counted == u32::MAX || self.table.meter(captured)? == Metered::Skipped(Skipped::TableFull) {
            self.drain()?;
            self.table.meter(captured)?;
        }
        self.counted += 1;
        Ok(flow)
    }

    /// Reports what was added to the times of an interface, where that has changed.
    fn shift(&mut self, interface: u32, shift_ns: i64) -> ControlFlow<()> {
        if self.shifts.insert(interface, shift_ns) == Some(shift_ns) {
            return ControlFlow::Continue(());
        }
        self.processing.put(Step::Shift { interface, shift_ns })
    }

    #[cold]
    fn pass(&mut self, passed: Passed) -> Result<ControlFlow<()>> {
        self.drain()?;
        if matches!(passed, Passed::Begin(_)) {
            self.shifts.clear();
        }
        Ok(self.processing.put(Step::Pass(passed)))
    }

    fn drain(&mut self) -> Result<()> {
        if std::mem::take(&mut self.counted) == 0 {
            return Ok(());
        }
        let mut copied = self.processing.copy(self.table.kept_payload());
        self.table.drain(|head, flows| {
            copied.head = without_overflow(*head);
            copied.occupancy = flows.len() as f64 / f64::from(CAPACITY);
            copied.fill(flows.iter().copied());
        })?;
        if copied.head.received.packets > 0 {
            // At the end of the epoch it is seen whether the run is to end.
            let _ = self.processing.put(Step::Absorb(Box::new(copied)));
        }
        Ok(())
    }

    /// Advances time because no bytes arrived for `waited`, after a complete packet or within one.
    ///
    /// # Errors
    /// If the table fails.
    pub fn silent(&mut self, waited: Duration, between_packets: bool) -> Result<ControlFlow<()>> {
        let mut flow = self.release(None)?;
        let silence_ns = self.quiet.wait(waited, between_packets);
        let Some(latest_ns) = self.epochs.latest_ns() else { return Ok(flow) };
        while let Some(passed) = self.epochs.silent(latest_ns.saturating_add(silence_ns)) {
            flow = later(flow, self.pass(passed)?);
        }
        // The next packet may take long.
        self.processing.hand_over();
        Ok(flow)
    }

    /// Ends a file. Returns a sentence for each kind of irregular times in it.
    ///
    /// # Errors
    /// If the table fails.
    pub fn end_file(&mut self) -> Result<(ControlFlow<()>, Vec<String>)> {
        let flow = self.release(None)?;
        self.clocks.begin_file();
        Ok((flow, describe(&self.clocks.irregular())))
    }

    /// The table.
    pub const fn table(&mut self) -> &mut T {
        &mut self.table
    }

    /// Shows a notice.
    pub fn notice(&mut self, text: &str) {
        let _ = self.processing.put(Step::Notice(text.to_owned()));
    }

    /// Shows a warning.
    pub fn warn(&mut self, text: &str) {
        let _ = self.processing.put(Step::Warning(text.to_owned()));
    }

    /// Ends the last epoch at the last packet, and then the run.
    ///
    /// # Errors
    /// If the table fails, or the thread of the pipeline has panicked.
    pub fn finish(mut self) -> Result<Finished> {
        // The run ends in any case, also if standard output was closed.
        let _reader_gone = self.release(None)?;
        self.drain()?;
        if let Some(now_ns) = self.epochs.now_ns() {
            let _reader_gone = self.processing.put(Step::Pass(Passed::End(now_ns)));
        }
        self.processing.finish()
    }
}

/// Breaks if one of both does.
pub fn later(before: ControlFlow<()>, now: ControlFlow<()>) -> ControlFlow<()> {
    if before.is_break() { before } else { now }
}

/// Describes the irregular times of a file.
fn describe(irregular: &Irregular) -> Vec<String> {
    let seconds = |ns: u64| format!("{:.1} s", ns as f64 / 1e9);
    let shifted = irregular.shifted.iter().map(|(interface, shift_ns)| {
        let (by, side) = (seconds(shift_ns.unsigned_abs()), if *shift_ns > 0 { "before" } else { "after" });
        format!(
            "the times of interface {interface} are about {by} {side} those of the neighbouring packets: its clock differs, or \
             the file is not sorted by time. Its flows keep its times; host windows use those of the neighbouring packets"
        )
    });
    let late = Some(irregular.late).filter(|late| late.count > 0).map(|late| {
        let (packets, by) = (counted(late.count, "packet"), seconds(late.most_ns));
        format!(
            "{packets} came more than a second late, by {by} at most, and are counted at the latest time before them"
        )
    });
    let set_back = Some(irregular.set_back).filter(|set_back| set_back.count > 0).map(|set_back| {
        let (times, by) = (counted(set_back.count, "time"), seconds(set_back.most_ns));
        format!("time goes back {times} by more than the idle timeout, by {by} at most; all open flows end there")
    });
    shifted.chain(late).chain(set_back).collect()
}

/// The counts without packets that found the table full, as those are counted again.
fn without_overflow(mut head: Head) -> Head {
    let full = std::mem::take(&mut head.skipped[Skipped::TableFull as usize]);
    head.received = Count { packets: head.received.packets - full.packets, bytes: head.received.bytes - full.bytes };
    head.overflow = [Count::default(); OVERFLOW_PROTOCOLS.len()];
    head
}

/// The faults of a file.
pub struct Wrong {
    /// The errors because of which parts of it could not be read.
    pub problems: Vec<FileError>,
    /// The descriptions of irregular times.
    pub irregular: Vec<String>,
}

/// Counts all frames of a file, and returns its faults. `counted` is called with the number of frames so far.
///
/// # Errors
/// If the table fails.
pub fn count_whole<T: FileTable>(path: &Path, offline: &mut Offline<T>, mut counted: impl FnMut(u64)) -> Result<Wrong> {
    let mut file = match CaptureFile::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Wrong { problems: vec![error], irregular: Vec::new() }),
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
    let (_, irregular) = offline.end_file()?;
    Ok(Wrong { problems: file.left_out().into_iter().chain(end).collect(), irregular })
}

/// Counts the next frames; `None` at the end of the file.
///
/// # Errors
/// If the table fails.
pub fn count_some<T: FileTable>(
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
    use crate::export::{Pace, Sinks};
    use crate::features::FlowColumns;
    use crate::session::Timeouts;

    #[test]
    fn a_table_is_drained_before_its_counters_overflow() {
        let sinks = Sinks::open(&[], FlowColumns::Headers, Pace::Offline).expect("there is nothing to open");
        let timeouts = Timeouts::default();
        let pipeline = Pipeline::new(timeouts, Vec::new(), None, sinks, 0, 0);
        let offline = Offline::new(table(), pipeline, Epochs::new(Duration::from_secs(1), timeouts.idle));
        let mut offline = offline.expect("a thread");
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
