//! The interface of a peer, as the stream of rows uses it.

use std::time::Duration;

use super::super::remote::Failure;
use super::rows::Rows;

/// The rows of a delivery that the peer has refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) rows: u64,
    /// The reason for one of them.
    pub(super) why: String,
}

impl Refused {
    /// No row was refused.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Adds a refused row.
    pub(super) fn add(&mut self, why: impl Into<String>) {
        self.rows += 1;
        self.why = why.into();
    }
}

/// Delivers rows to a peer.
pub(super) trait Deliver: Send {
    /// Connects to the peer within `limit`, if it is not connected.
    fn connect(&mut self, limit: Duration) -> Result<(), Failure>;

    /// Delivers rows within `limit`. When this returns without an error, the peer has stored all rows except the refused
    /// ones. After an error it may have stored some, and the caller delivers all of them again.
    fn deliver(&mut self, rows: &Rows, limit: Duration) -> Result<Refused, Failure>;
}
