//! The number of records that were sent and lost.

/// The number of records sent and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::export) struct Account {
    /// Records passed to the system, without a report that they did not arrive.
    pub(in crate::export) sent: u64,
    /// Records that were not sent, or were refused.
    pub(in crate::export) lost: u64,
}
