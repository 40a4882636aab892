//! The reason why a peer did not take what it was sent.

use std::panic::{self, AssertUnwindSafe};

/// The reason why something was not delivered.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::export) enum Failure {
    /// It may be delivered later.
    Later(String),
    /// The peer does not accept it.
    Refused(String),
}

/// Makes an attempt to deliver something. A panic is a failure that may pass: the HTTP client panics if the system has no
/// further thread to resolve a name.
pub(in crate::export) fn attempt<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let failed = |_| Err(Failure::Later("the attempt ended with an internal error".to_owned()));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(failed)
}
