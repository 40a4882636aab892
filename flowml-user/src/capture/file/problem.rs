//! Errors of reading a capture.

use std::io::{self, ErrorKind};

use thiserror::Error;

use super::window::Window;
use super::{link, wait};

/// An error that prevents reading a file, or reading it to its end.
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

/// The faults of a file. Offsets count the bytes of the capture itself, after decompression.
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
        /// The incomplete part.
        what: &'static str,
        /// Offset at which it starts, in bytes.
        offset: u64,
        /// Whether the file is compressed.
        compressed: bool,
    },
    /// The file contradicts its format.
    #[error("it is damaged at byte {offset}: {what}{hint}", hint = decompressed(*.compressed))]
    Corrupt {
        /// The found and the expected value.
        what: String,
        /// The offset of the damage, in bytes.
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

/// A [`Problem`], before it is known whether the file is compressed.
pub(super) enum Fault {
    CutOff { what: &'static str, offset: u64 },
    Corrupt { what: String, offset: u64 },
    Read { offset: u64, error: io::Error },
    Other(Problem),
}

impl Fault {
    pub(super) fn problem(self, compressed: bool) -> Problem {
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
pub(super) fn whole<'a>(window: &'a mut Window, length: usize, what: &'static str) -> Result<&'a [u8], Fault> {
    let offset = window.offset();
    let bytes = window.peek(length).map_err(|error| Fault::Read { offset, error })?;
    if bytes.len() < length { Err(Fault::CutOff { what, offset }) } else { Ok(bytes) }
}
