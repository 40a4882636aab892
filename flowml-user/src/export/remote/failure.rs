//! The reason why a peer did not take what it was sent.

/// The reason why something was not delivered.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::export) enum Failure {
    /// It may be delivered later.
    Later(String),
    /// The peer does not accept it.
    Refused(String),
}
