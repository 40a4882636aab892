//! Capture files: pcap and pcapng, compressed or not, read frame by frame in bounded memory.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use flowml_common::packet::{Frame, Hook};
use thiserror::Error;

mod decompress;
pub mod link;
mod order;
mod pcap;
mod pcapng;
mod stream;
mod wait;
mod window;

use link::LinkType;
pub use order::in_order_of_time;
use pcap::Pcap;
use pcapng::Pcapng;
pub use stream::BytesRead;
use stream::Stream;
pub use wait::Signals;
use window::Window;

/// The longest packet or block that is read, in bytes. BIG TCP's buffers have 512 KiB, and a larger length than this
/// limit is damage. The limit bounds the memory.
pub const LONGEST: u32 = 16 << 20;

/// Why a file cannot be read, or cannot be read to its end.
#[derive(Debug, Error)]
#[error("{file}: {problem}")]
pub struct FileError {
    /// Name of the file.
    pub file: String,
    /// The problem.
    pub problem: Problem,
}

impl FileError {
    /// Whether the only problem is that the run is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(&self.problem, Problem::Read { error, .. } if wait::is_stopped(error))
    }

    /// Whether the only problem is that no bytes arrived for an interval. More frames may follow.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(&self.problem, Problem::Read { error, .. } if wait::is_silent(error))
    }
}

/// What is wrong with a file. Offsets count the bytes of the capture itself, after decompression.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file does not exist, or this process may not open it.
    #[error("cannot open it: {0}")]
    Open(#[source] io::Error),
    /// The path is a directory.
    #[error("it is a directory; expected a capture file")]
    Directory,
    /// The file is empty.
    #[error("it is empty; expected a capture")]
    Empty,
    /// The first bytes are not those of a capture.
    #[error("it is not a capture that flowml reads; expected pcap or pcapng, plain or compressed with gzip or zstd")]
    NotACapture,
    /// The magic number is that of an unsupported variant of pcap.
    #[error("it is {whose} variant of pcap, which flowml does not read; expected pcap or pcapng")]
    Variant {
        /// The name of the variant.
        whose: &'static str,
    },
    /// The frames have an unsupported link type.
    #[error(
        "link type {link} cannot be read{packets}; expected Ethernet, raw IP, Linux cooked or BSD loopback",
        packets = .packets.map_or_else(String::new, |packets| format!(", so {packets} packets of it are left out"))
    )]
    LinkType {
        /// The link type.
        link: link::Number,
        /// Number of such packets, if the other packets of the file could be read.
        packets: Option<u64>,
    },
    /// The file ends within a packet or header.
    #[error("it is cut off: {what} at byte {offset} is not complete{hint}", hint = decompressed(*.compressed))]
    CutOff {
        /// What is incomplete.
        what: &'static str,
        /// Offset at which it starts, in bytes.
        offset: u64,
        /// Whether the file is compressed.
        compressed: bool,
    },
    /// The file contradicts its format.
    #[error("it is damaged at byte {offset}: {what}{hint}", hint = decompressed(*.compressed))]
    Corrupt {
        /// What was found, and what was expected.
        what: String,
        /// Its offset, in bytes.
        offset: u64,
        /// Whether the file is compressed.
        compressed: bool,
    },
    /// Reading or decompression failed.
    #[error("cannot read it after byte {offset}: {error}{hint}", hint = decompressed(*.compressed))]
    Read {
        /// Number of bytes that could be read.
        offset: u64,
        /// Whether the file is compressed.
        compressed: bool,
        /// The error.
        error: io::Error,
    },
}

const fn decompressed(compressed: bool) -> &'static str {
    if compressed { " (of the decompressed capture)" } else { "" }
}

/// A frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// Time of the frame, in ns of Unix time.
    pub time_ns: u64,
    /// Length on the wire without FCS, in bytes. The captured bytes may be fewer.
    pub length: u32,
    /// Number of the interface in the file, from 1. pcap has one interface.
    pub interface: u32,
    /// Link type of the frame.
    pub link: LinkType,
    /// The captured bytes.
    pub bytes: &'a [u8],
}

impl Captured<'_> {
    /// The properties of the frame for the parser.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame {
            time_ns: self.time_ns,
            length: self.length,
            interface: self.link.interface(self.bytes).unwrap_or(self.interface),
            hook: Hook::File,
            stripped_vlan: None,
            segments: None,
        }
    }
}

/// The latest valid time, in ns: in the year 2262. It leaves room for additions.
const LATEST_NS: u64 = i64::MAX as u64;

/// The length that is counted, in bytes: the original one, unless it is impossible.
fn wire_length(original: u32, captured: u32, fcs: u32) -> u32 {
    let whole = if original > LONGEST { captured } else { original.max(captured) };
    whole.saturating_sub(fcs)
}

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

    /// Whether the received bytes end with a whole packet. A writer that buffers may stop within a packet.
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

/// A [`Problem`], before it is known whether the file is compressed.
enum Fault {
    CutOff { what: &'static str, offset: u64 },
    Corrupt { what: String, offset: u64 },
    Read { offset: u64, error: io::Error },
    Other(Problem),
}

impl Fault {
    fn problem(self, compressed: bool) -> Problem {
        match self {
            Self::CutOff { what, offset } => Problem::CutOff { what, offset, compressed },
            Self::Corrupt { what, offset } => Problem::Corrupt { what, offset, compressed },
            // A compressed file that ends early.
            Self::Read { offset, error } if compressed && error.kind() == ErrorKind::UnexpectedEof => {
                Problem::CutOff { what: "the compressed stream", offset, compressed }
            }
            Self::Read { offset, error } => Problem::Read { offset, compressed, error },
            Self::Other(problem) => problem,
        }
    }
}

/// Returns the next `length` bytes without taking them. If there are fewer, the error names `what`.
fn whole<'a>(window: &'a mut Window, length: usize, what: &'static str) -> Result<&'a [u8], Fault> {
    let offset = window.offset();
    let bytes = window.peek(length).map_err(|error| Fault::Read { offset, error })?;
    if bytes.len() < length { Err(Fault::CutOff { what, offset }) } else { Ok(bytes) }
}
