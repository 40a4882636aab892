//! How far it is, on a terminal.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::capture::file::{self, BytesRead};
use crate::process::plain;

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
        bar.set_message(plain::line(&file::name(path)).into_owned());
        Self { bar, read }
    }

    /// Shows how far it is by now.
    pub(super) fn show(&self) {
        self.bar.set_position(self.read.get());
    }
}

/// What is being done, where it is not known how long that takes; nothing where standard error is no terminal. It goes
/// when it is dropped.
pub(super) struct Step {
    bar: ProgressBar,
    /// Whether people want to know more than warnings.
    shown: bool,
}

impl Step {
    /// Begins to show steps, or shows none.
    pub(super) fn begin(shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, shown }
    }

    /// Says what is done from now on.
    pub(super) fn show(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(plain::line(&what.into()).into_owned());
    }

    /// Tells people what they may want to know, unless only warnings are shown.
    pub(super) fn notice(&self, text: &str) {
        if self.shown {
            self.warn(text);
        }
    }

    /// Tells people what is not as it should be, above the line of the step.
    pub(super) fn warn(&self, text: &str) {
        self.bar.suspend(|| plain::tell(&format!("flowml: {text}")));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
