//! Messages of an output's thread.

/// Shows a message at once, also while the thread of the output waits.
pub(super) type Notify = Box<dyn Fn(String) + Send>;
