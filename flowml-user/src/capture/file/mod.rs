//! Capture files: pcap and pcapng, compressed or not, read frame by frame in bounded memory.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

mod captured;
mod decompress;
pub mod link;
mod order;
mod pcap;
mod pcapng;
mod problem;
mod stream;
mod wait;
mod window;

pub use captured::{Captured, LONGEST};
pub use order::in_order_of_time;
use pcap::Pcap;
use pcapng::Pcapng;
use problem::Fault;
pub use problem::{FileError, Problem};
pub use stream::BytesRead;
use stream::Stream;
pub use wait::Signals;
use window::Window;

enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// An open capture.
pub struct CaptureFile {
    name: String,
    window: Window,
    compressed: bool,
    format: Format,
    read: BytesRead,
}

impl fmt::Debug for CaptureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The name of the file in messages: its path, or `standard input`.
#[must_use]
pub fn name(path: &Path) -> String {
    if stream::is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Whether the file is a capture, even a damaged one. Standard input counts as a capture.
#[must_use]
pub fn is_capture(path: &Path) -> bool {
    let is_none = |problem: &Problem| {
        matches!(problem, Problem::Open(_) | Problem::Directory | Problem::Empty | Problem::NotACapture)
    };
    stream::is_standard_input(path) || CaptureFile::open(path).map_or_else(|error| !is_none(&error.problem), |_| true)
}

impl CaptureFile {
    /// Opens a file. `-` is standard input.
    ///
    /// # Errors
    /// If the file is not a capture whose frames can be read.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::begin(Stream::open(path, None), name(path))
    }

    /// Opens a file that may grow or may be a pipe. Reading fails as soon as a signal has arrived
    /// ([`FileError::is_stopped`]), and after each interval `every` without bytes ([`FileError::is_silent`]). After
    /// such an interval reading can continue.
    ///
    /// # Errors
    /// If the file is not a capture whose frames can be read.
    pub fn open_until(path: &Path, signals: &Signals, every: Duration) -> Result<Self, FileError> {
        Self::begin(Stream::open(path, Some((signals, every))), name(path))
    }

    /// Opens a capture whose bytes come from `source`. Messages use `name`.
    ///
    /// # Errors
    /// If the source is not a capture whose frames can be read.
    pub fn over(source: impl Read + Send + 'static, name: String) -> Result<Self, FileError> {
        Self::begin(Stream::over(source), name)
    }

    fn begin(stream: Result<Stream, Problem>, name: String) -> Result<Self, FileError> {
        let begin = |Stream { bytes, compressed, read }| {
            let mut window = Window::new(bytes);
            // Before the first packet there is no time that could advance, so this wait ends only with bytes or a
            // signal.
            let format = loop {
                match Format::begin(&mut window) {
                    Err(Fault::Read { error, .. }) if wait::is_silent(&error) => {}
                    format => break format.map_err(|fault| fault.problem(compressed))?,
                }
            };
            Ok((window, compressed, format, read))
        };
        match stream.and_then(begin) {
            Ok((window, compressed, format, read)) => Ok(Self { name, window, compressed, format, read }),
            Err(problem) => Err(FileError { file: name, problem }),
        }
    }

    /// The next frame, or `None` at the end.
    ///
    /// # Errors
    /// If the rest of the file cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<Captured<'_>>, FileError> {
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window),
        };
        next.map_err(|fault| FileError { file: self.name.clone(), problem: fault.problem(self.compressed) })
    }

    /// Number of interfaces known so far. In a pcapng file these are the interfaces of the current section.
    fn interfaces(&self) -> usize {
        match &self.format {
            Format::Pcap(_) => 1,
            Format::Pcapng(pcapng) => pcapng.interfaces(),
        }
    }

    /// Whether the received bytes end with a complete packet. A writer that buffers may stop within a packet.
    #[must_use]
    pub const fn is_between_packets(&self) -> bool {
        self.window.is_empty()
    }

    /// The packets that were left out so far because of their link type, as one error for each link type.
    #[must_use]
    pub fn left_out(&self) -> Vec<FileError> {
        let Format::Pcapng(pcapng) = &self.format else { return Vec::new() };
        let problems = pcapng.left_out().map(|(link, packets)| Problem::LinkType { link, packets: Some(packets) });
        problems.map(|problem| FileError { file: self.name.clone(), problem }).collect()
    }

    /// A counter of the bytes read from the file. It keeps counting, and other threads can read it.
    #[must_use]
    pub fn bytes_read(&self) -> BytesRead {
        self.read.clone()
    }
}

impl Format {
    fn begin(window: &mut Window) -> Result<Self, Fault> {
        let mark = window.peek(pcapng::MARK.len()).map_err(|error| Fault::Read { offset: 0, error })?;
        if mark.is_empty() {
            return Err(Fault::Other(Problem::Empty));
        }
        if mark == pcapng::MARK { Pcapng::begin(window).map(Self::Pcapng) } else { Pcap::begin(window).map(Self::Pcap) }
    }
}
