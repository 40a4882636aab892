//! The bytes of a capture: from a file or standard input, decompressed if their first bytes are those of a compression.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::decompress::{Decompressed, Gzip, Zstandard};
use super::problem::Problem;
use super::wait::{Signals, Waiting, is_silent};

/// The file name that means standard input.
const STANDARD_INPUT: &str = "-";

/// Size of one read of compressed bytes.
const COMPRESSED_CHUNK: usize = 128 * 1024;

/// Length of the longest of the magic numbers below, in bytes.
const MARK: usize = 4;

/// ID1 and ID2 (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The magic number of a frame, 0xfd2fb528 in little-endian order (RFC 8878 §3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A counter of the bytes read from a file, before decompression. Used to show progress.
#[derive(Clone, Debug, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// Number of bytes.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A reader that counts its bytes.
struct Counted<R> {
    source: R,
    read: BytesRead,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.read.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// An open capture.
pub(super) struct Stream {
    /// The bytes, decompressed.
    pub(super) bytes: Box<dyn Read + Send>,
    /// Whether the file is compressed.
    pub(super) compressed: bool,
    /// The counter of the bytes read from the file.
    pub(super) read: BytesRead,
}

/// Whether `path` is standard input.
pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == STANDARD_INPUT
}

/// Opens a file. Standard input is opened without the standard library's buffer, so that poll(2) sees whether there are
/// bytes.
fn open(path: &Path) -> io::Result<File> {
    if is_standard_input(path) { Ok(io::stdin().as_fd().try_clone_to_owned()?.into()) } else { File::open(path) }
}

impl Stream {
    /// Opens a file. With `until`, a read ends at the first signal, and after each interval without bytes.
    pub(super) fn open(path: &Path, until: Option<(&Signals, Duration)>) -> Result<Self, Problem> {
        let file = open(path).map_err(Problem::Open)?;
        if file.metadata().map_err(Problem::Open)?.is_dir() {
            return Err(Problem::Directory);
        }
        match until {
            Some((signals, every)) => Self::over(Waiting::new(file, signals.clone(), every)),
            None => Self::over(file),
        }
    }

    pub(super) fn over(source: impl Read + Send + 'static) -> Result<Self, Problem> {
        let read = BytesRead::default();
        let mut source = Counted { source, read: read.clone() };
        let mut mark = Vec::with_capacity(MARK);
        loop {
            match (&mut source).take((MARK - mark.len()) as u64).read_to_end(&mut mark) {
                Ok(_) => break,
                Err(error) if is_silent(&error) => {}
                Err(error) => return Err(Problem::Read { offset: 0, compressed: false, error }),
            }
        }
        let (gzip, zstd) = (mark.starts_with(&GZIP), mark.starts_with(&ZSTD));
        let whole = Cursor::new(mark).chain(source);
        let compressed = |source| BufReader::with_capacity(COMPRESSED_CHUNK, source);
        let bytes: Box<dyn Read + Send> = if gzip {
            Box::new(Decompressed::new(compressed(whole), Gzip::new()))
        } else if zstd {
            let decoder = Zstandard::new().map_err(|error| Problem::Read { offset: 0, compressed: true, error })?;
            Box::new(Decompressed::new(compressed(whole), decoder))
        } else {
            Box::new(whole)
        };
        Ok(Self { bytes, compressed: gzip || zstd, read })
    }
}
