//! The file of an output, or its sequence of rotated files.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::time::SystemTime;

use super::part::PartFile;
use super::rotation::Rotation;
use super::target::FileTarget;
use crate::process::private;

/// The file that is being written.
pub(super) struct Files {
    target: FileTarget,
    rotation: Rotation,
    /// The incomplete current file, if files are rotated.
    part: Option<PartFile>,
    begun: SystemTime,
    /// Bytes of the rows in the current file.
    bytes: u64,
    /// Whether no file has been completed yet.
    is_first: bool,
}

impl Files {
    /// Opens the first file. For a FIFO this blocks until it has a reader.
    pub(super) fn open(target: FileTarget) -> io::Result<(Self, File)> {
        let rotation = target.rotation.unwrap_or(Rotation::Never);
        let mut files = Self { target, rotation, part: None, begun: SystemTime::now(), bytes: 0, is_first: true };
        let file = if files.rotation.rotates() { files.open_next()? } else { files.whole()? };
        Ok((files, file))
    }

    fn whole(&self) -> io::Result<File> {
        private::create(&self.target.path, self.target.mode)
    }

    /// Opens the next file.
    fn open_next(&mut self) -> io::Result<File> {
        let FileTarget { path, mode, .. } = &self.target;
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file, so it cannot be rotated"));
        }
        (self.begun, self.bytes) = (SystemTime::now(), 0);
        let (part, file) = PartFile::of_time(path, self.begun, *mode)?;
        self.part = Some(part);
        Ok(file)
    }

    /// Opens the file again to append to it, and creates it if it does not exist.
    pub(super) fn again(&mut self) -> io::Result<File> {
        match &self.part {
            Some(part) => private::append(part.path(), self.target.mode),
            None if self.rotation.rotates() => self.open_next(),
            None => private::append(&self.target.path, self.target.mode),
        }
    }

    /// Counts bytes that were written.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// If a rotation is due, completes the file and opens the next one. A file without rows is removed.
    pub(super) fn rotate(&mut self) -> Option<io::Result<File>> {
        if !self.rotation.ends(self.begun, SystemTime::now(), self.bytes) {
            return None;
        }
        Some(self.end(false).and_then(|()| self.open_next()))
    }

    /// Completes the last file. A file without rows is kept only if it is the only one.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.end(self.is_first)
    }

    fn end(&mut self, keeps_empty: bool) -> io::Result<()> {
        let Some(part) = &self.part else { return Ok(()) };
        if self.bytes > 0 || keeps_empty {
            part.finish()?;
            self.is_first = false;
        } else {
            part.discard();
        }
        self.part = None;
        Ok(())
    }
}
