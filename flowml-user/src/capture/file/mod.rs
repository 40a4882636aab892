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

/// The longest packet or block that is read, bytes: BIG TCP's buffers have 512 KiB, and what says that it is longer than
/// this is damaged. It bounds the memory.
pub const LONGEST: u32 = 16 << 20;

/// Why a file cannot be read, or not to its end.
#[derive(Debug, Error)]
#[error("{file}: {problem}")]
pub struct FileError {
    /// Which file.
    pub file: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl FileError {
    /// Whether nothing is wrong with it but that the run is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(&self.problem, Problem::Read { error, .. } if wait::is_stopped(error))
    }

    /// Whether nothing is wrong with it but that no bytes came for an interval: more frames may come.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(&self.problem, Problem::Read { error, .. } if wait::is_silent(error))
    }
}

/// What is wrong with a file. Offsets count the bytes of the capture itself, decompressed where it is compressed.
#[derive(Debug, Error)]
pub enum Problem {
    /// It is not there, or not for us.
    #[error("cannot open it: {0}")]
    Open(#[source] io::Error),
    /// It is a directory.
    #[error("it is a directory; expected a capture file")]
    Directory,
    /// It has no bytes.
    #[error("it is empty; expected a capture")]
    Empty,
    /// Its first bytes are not those of a capture.
    #[error("it is no capture that flowml reads; expected pcap or pcapng, as it is or compressed with gzip or zstd")]
    NotACapture,
    /// Its magic number is that of a variant of pcap that cannot be read.
    #[error("it is {whose} variant of pcap, which flowml does not read; expected pcap or pcapng")]
    Variant {
        /// Whose.
        whose: &'static str,
    },
    /// The parser does not know how its frames begin.
    #[error(
        "link type {link} cannot be read{packets}; expected Ethernet, raw IP, Linux cooked or BSD loopback",
        packets = .packets.map_or_else(String::new, |packets| format!(", nor its packets, {packets} in all"))
    )]
    LinkType {
        /// Name and number.
        link: link::Number,
        /// How many there are, where the others of the file could be read.
        packets: Option<u64>,
    },
    /// It ends in the middle.
    #[error("it is cut off: {what} at byte {offset} is not complete{hint}", hint = decompressed(*.compressed))]
    CutOff {
        /// What begins there.
        what: &'static str,
        /// Where.
        offset: u64,
        /// Whether the bytes were compressed.
        compressed: bool,
    },
    /// It contradicts the format.
    #[error("it is damaged at byte {offset}: {what}{hint}", hint = decompressed(*.compressed))]
    Corrupt {
        /// What is there, and what was expected.
        what: String,
        /// Where.
        offset: u64,
        /// Whether the bytes were compressed.
        compressed: bool,
    },
    /// The system or the decompression failed.
    #[error("cannot read it behind byte {offset}: {error}{hint}", hint = decompressed(*.compressed))]
    Read {
        /// Up to where it could be read.
        offset: u64,
        /// Whether the bytes were compressed.
        compressed: bool,
        /// What was said.
        error: io::Error,
    },
}

const fn decompressed(compressed: bool) -> &'static str {
    if compressed { " (of the decompressed capture)" } else { "" }
}

/// A frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured<'a> {
    /// When it was seen, ns of Unix time.
    pub time_ns: u64,
    /// Its length on the wire without FCS, bytes: what was captured may be less.
    pub length: u32,
    /// Which of the file's interfaces saw it, the first being 1. pcap has one.
    pub interface: u32,
    /// How it begins.
    pub link: LinkType,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

impl Captured<'_> {
    /// What the parser is told of it.
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

/// Beyond this, the year 2262, a time is none: so there is room to add to any.
const LATEST_NS: u64 = i64::MAX as u64;

/// The length that counts: the original one, unless that is impossible.
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

/// How people are told of the file: its path, or `standard input`.
#[must_use]
pub fn name(path: &Path) -> String {
    if stream::is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Whether the file is a capture, whatever may be wrong with the rest of it; standard input is taken for one.
#[must_use]
pub fn is_capture(path: &Path) -> bool {
    let is_none = |problem: &Problem| {
        matches!(problem, Problem::Open(_) | Problem::Directory | Problem::Empty | Problem::NotACapture)
    };
    stream::is_standard_input(path) || CaptureFile::open(path).map_or_else(|error| !is_none(&error.problem), |_| true)
}

impl CaptureFile {
    /// Opens a file, `-` being standard input.
    ///
    /// # Errors
    /// Where it is no capture whose frames can be read.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::begin(Stream::open(path, None), name(path))
    }

    /// Opens a file, whose reading fails as soon as a signal has come ([`FileError::is_stopped`]), and goes on after it
    /// failed because no bytes came for as long as `every` ([`FileError::is_silent`]).
    ///
    /// # Errors
    /// Where it is no capture whose frames can be read.
    pub fn open_until(path: &Path, signals: &Signals, every: Duration) -> Result<Self, FileError> {
        Self::begin(Stream::open(path, Some((signals, every))), name(path))
    }

    /// Opens a capture whose bytes come from elsewhere; people are told of it by `name`.
    ///
    /// # Errors
    /// Where it is no capture whose frames can be read.
    pub fn over(source: impl Read + Send + 'static, name: String) -> Result<Self, FileError> {
        Self::begin(Stream::over(source), name)
    }

    fn begin(stream: Result<Stream, Problem>, name: String) -> Result<Self, FileError> {
        let begin = |Stream { bytes, compressed, read }| {
            let mut window = Window::new(bytes);
            // Without a packet there is no time that could go on: this wait ends with bytes or a signal.
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

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// Where the rest of the file cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<Captured<'_>>, FileError> {
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window),
        };
        next.map_err(|fault| FileError { file: self.name.clone(), problem: fault.problem(self.compressed) })
    }

    /// How many interfaces are known so far, of a pcapng file those of its section.
    fn interfaces(&self) -> usize {
        match &self.format {
            Format::Pcap(_) => 1,
            Format::Pcapng(pcapng) => pcapng.interfaces(),
        }
    }

    /// Whether all bytes that came are whole packets: a writer that buffers stops in the middle of one.
    #[must_use]
    pub const fn is_between_packets(&self) -> bool {
        self.window.is_empty()
    }

    /// What was left out so far, because of its link type.
    #[must_use]
    pub fn left_out(&self) -> Vec<FileError> {
        let Format::Pcapng(pcapng) = &self.format else { return Vec::new() };
        let problems = pcapng.left_out().map(|(link, packets)| Problem::LinkType { link, packets: Some(packets) });
        problems.map(|problem| FileError { file: self.name.clone(), problem }).collect()
    }

    /// How many of the file's bytes have been read, also from elsewhere and later.
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

/// A [`Problem`] before it is known whether the file is compressed.
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
                Problem::CutOff { what: "what is compressed", offset, compressed }
            }
            Self::Read { offset, error } => Problem::Read { offset, compressed, error },
            Self::Other(problem) => problem,
        }
    }
}

/// Looks at the `length` bytes of `what`, all of which must be there.
fn whole<'a>(window: &'a mut Window, length: usize, what: &'static str) -> Result<&'a [u8], Fault> {
    let offset = window.offset();
    let bytes = window.peek(length).map_err(|error| Fault::Read { offset, error })?;
    if bytes.len() < length { Err(Fault::CutOff { what, offset }) } else { Ok(bytes) }
}
