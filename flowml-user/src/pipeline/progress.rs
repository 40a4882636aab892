//! How far a capture has been read, on a terminal.

use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::capture::file::{self, BytesRead};

/// A bar on standard error while a file is read; nothing where that is no terminal. It goes when it is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    read: BytesRead,
}

impl Progress {
    /// Begins to show how much of the file at `path` was read.
    pub(super) fn begin(path: &Path, read: BytesRead) -> Self {
        // Of a pipe there is no length: then it shows how much has come.
        let length = fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        let template = match length {
            Some(_) => "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}",
            None => "{msg} {spinner} {bytes}, {bytes_per_sec}",
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(file::name(path));
        Self { bar, read }
    }

    /// Shows how far it is by now.
    pub(super) fn show(&self) {
        self.bar.set_position(self.read.get());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
