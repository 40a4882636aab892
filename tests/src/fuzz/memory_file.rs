//! A file in memory, for readers that need a path.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory.
pub(super) struct MemoryFile(fs::File);

impl MemoryFile {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let descriptor = memfd_create("input", MemfdFlags::CLOEXEC).expect("the system has memory for a file");
        let mut file = fs::File::from(descriptor);
        file.write_all(bytes).expect("memory takes what is written");
        Self(file)
    }

    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}
