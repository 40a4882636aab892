//! Where a capture's bytes come from: a file or standard input, compressed or not, as its first bytes say.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Problem;
use super::decompress::{Decompressed, Gzip, Zstandard};
use super::wait::{Signals, Waiting, is_silent};

/// What stands for standard input among the names of files.
const STANDARD_INPUT: &str = "-";

/// Compressed bytes that are read at once.
const COMPRESSED_CHUNK: usize = 128 * 1024;

/// As long as the longest of the marks below.
const MARK: usize = 4;

/// RFC 1952 §2.3.1: ID1 and ID2.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// RFC 8878 §3.1.1: the magic number of a frame, 0xfd2fb528 in little-endian order.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How many bytes of a file have been read, as it lies there: for whoever shows progress.
#[derive(Clone, Debug, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// Bytes.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts what it gives.
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

/// An open file.
pub(super) struct Stream {
    /// Its bytes, decompressed.
    pub(super) bytes: Box<dyn Read + Send>,
    /// Whether they were compressed.
    pub(super) compressed: bool,
    /// How far it has been read.
    pub(super) read: BytesRead,
}

/// Whether `path` is standard input.
pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == STANDARD_INPUT
}

/// Standard input without the buffer that the standard library puts before it: whether there are bytes must be known.
fn open(path: &Path) -> io::Result<File> {
    if is_standard_input(path) { Ok(io::stdin().as_fd().try_clone_to_owned()?.into()) } else { File::open(path) }
}

impl Stream {
    /// Opens a file. With signals, a reading ends with the first of them, and each such interval without bytes.
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
