//! Lines for people, as the journal takes them: with their priority in front (sd-daemon(3)).

use std::borrow::Cow;
use std::env;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::fs::fstat;

/// How much a line matters (syslog(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// The run ends by it.
    Error = 3,
    /// Something is not as it should be.
    Warning = 4,
    /// All else.
    Information = 6,
}

/// The text as standard error takes it: each line behind its priority where that is the journal, else as it is.
#[must_use]
pub fn told(priority: Priority, text: &str) -> Cow<'_, str> {
    if is_journal() { Cow::Owned(prefixed(priority, text)) } else { Cow::Borrowed(text) }
}

/// Each line behind its priority.
#[must_use]
pub fn prefixed(priority: Priority, text: &str) -> String {
    text.split_inclusive('\n').map(|line| format!("<{}>{line}", priority as u8)).collect()
}

/// Whether standard error is the stream to the journal that the service manager made, and not a file or pipe that took
/// its place (`$JOURNAL_STREAM` in systemd.exec(5)).
#[must_use]
pub fn is_journal() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| env::var("JOURNAL_STREAM").is_ok_and(|named| is_stream(&std::io::stderr(), &named)))
}

/// Whether `stream` is the one that is named `DEVICE:INODE`.
fn is_stream(stream: &impl AsFd, named: &str) -> bool {
    fstat(stream).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn every_line_has_its_priority() {
        assert_eq!(prefixed(Priority::Warning, "one\ntwo\n"), "<4>one\n<4>two\n");
        assert_eq!(prefixed(Priority::Error, "one"), "<3>one");
    }

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        let file = tempfile::tempfile().expect("a file");
        let metadata = file.metadata().expect("its metadata");
        let (device, inode) = (metadata.st_dev(), metadata.st_ino());
        assert!(is_stream(&file, &format!("{device}:{inode}")));
        assert!(!is_stream(&file, &format!("{device}:{}", inode + 1)) && !is_stream(&file, ""));
    }
}
