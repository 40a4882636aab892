//! Shows progress on a terminal.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::time::Duration;

use flowml_user::capture::file::{self, BytesRead};
use flowml_user::process::plain;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error while a file is read. It is hidden without a terminal, and removed when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    read: BytesRead,
}

impl Progress {
    /// Shows a bar for the file at `path`, of which `read` counts the bytes.
    pub(crate) fn begin(path: &Path, read: BytesRead) -> Self {
        // A pipe has no length, so only the bytes read are shown.
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

    /// Updates the bar.
    pub(crate) fn show(&self) {
        self.bar.set_position(self.read.get());
    }
}

/// A line with the current step, for steps of unknown duration. It is hidden without a terminal, and removed when
/// dropped.
pub(crate) struct Step {
    bar: ProgressBar,
    /// Whether notices are shown.
    shown: bool,
}

impl Step {
    /// Starts to show steps, or hides them.
    pub(crate) fn begin(shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, shown }
    }

    /// Sets the current step.
    pub(crate) fn show(&self, what: impl Into<Cow<'static, str>>) {
        self.bar.set_message(plain::line(&what.into()).into_owned());
    }

    /// Shows a notice, unless only warnings are shown.
    pub(crate) fn notice(&self, text: &str) {
        if self.shown {
            self.warn(text);
        }
    }

    /// Shows a warning above the line of the step.
    pub(crate) fn warn(&self, text: &str) {
        self.bar.suspend(|| plain::print(&format!("flowml: {text}")));
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
