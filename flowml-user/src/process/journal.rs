//! Messages for the journal: each line starts with its priority (sd-daemon(3)).

use std::borrow::Cow;
use std::env;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::fs::fstat;

/// The priority of a line (syslog(3)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// An error that ends the run.
    Error = 3,
    /// A problem.
    Warning = 4,
    /// Everything else.
    Information = 6,
}

/// The text for standard error. If that is the journal, each line starts with its priority.
#[must_use]
pub fn prioritized(priority: Priority, text: &str) -> Cow<'_, str> {
    if is_journal() { Cow::Owned(prefixed(priority, text)) } else { Cow::Borrowed(text) }
}

/// The text, each line starting with its priority.
#[must_use]
pub fn prefixed(priority: Priority, text: &str) -> String {
    text.split_inclusive('\n').map(|line| format!("<{}>{line}", priority as u8)).collect()
}

/// Whether standard error is the stream to the journal that the service manager made, and not a file or pipe that
/// replaces it (`$JOURNAL_STREAM` in systemd.exec(5)).
#[must_use]
pub fn is_journal() -> bool {
    static IS: OnceLock<bool> = OnceLock::new();
    *IS.get_or_init(|| env::var("JOURNAL_STREAM").is_ok_and(|named| is_stream(&std::io::stderr(), &named)))
}

/// Whether `stream` is the one with the name `DEVICE:INODE`.
fn is_stream(stream: &impl AsFd, named: &str) -> bool {
    fstat(stream).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn each_line_has_the_priority() {
        assert_eq!(prefixed(Priority::Warning, "one\ntwo\n"), "<4>one\n<4>two\n");
        assert_eq!(prefixed(Priority::Error, "one"), "<3>one");
    }

    #[test]
    fn a_stream_is_identified_by_device_and_inode() {
        let file = tempfile::tempfile().expect("a file");
        let metadata = file.metadata().expect("its metadata");
        let (device, inode) = (metadata.st_dev(), metadata.st_ino());
        assert!(is_stream(&file, &format!("{device}:{inode}")));
        assert!(!is_stream(&file, &format!("{device}:{}", inode + 1)) && !is_stream(&file, ""));
    }
}
