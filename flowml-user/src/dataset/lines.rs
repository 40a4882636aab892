//! Reads the lines of a text file, with a maximum length and line numbers.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::DatasetError;
use super::limits::LONGEST_ROW;

/// A file that is read line by line.
pub(super) struct Lines {
    file: BufReader<File>,
    text: Vec<u8>,
    /// Number of the last line read, from 1.
    line: u64,
    path: PathBuf,
}

impl Lines {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self, DatasetError> {
        let file = File::open(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        Ok(Self { file: BufReader::new(file), text: Vec::new(), line: 0, path: path.to_owned() })
    }

    /// The next line without its line feed; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, DatasetError> {
        self.text.clear();
        let read = self.file.by_ref().take(LONGEST_ROW + 1).read_until(b'\n', &mut self.text);
        if read.map_err(|source| DatasetError::Read { path: self.path.clone(), source })? == 0 {
            return Ok(None);
        }
        self.line += 1;
        let line = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        if line.len() as u64 > LONGEST_ROW {
            return Err(self.malformed(&format!("expected a line of at most {LONGEST_ROW} bytes")));
        }
        Ok(Some(line))
    }

    /// An error about the last line.
    pub(super) fn malformed(&self, message: &str) -> DatasetError {
        DatasetError::Malformed { path: self.path.clone(), message: format!("line {}: {message}", self.line) }
    }
}
