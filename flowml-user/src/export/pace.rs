//! The pace of a run: whether it can wait for its outputs.

/// Whether the run can wait for its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A live run cannot wait: packets arrive whether rows are accepted or not, and an output must not delay the
    /// drains.
    Live,
    /// A run over captures can wait: a file is read as fast as its rows are accepted.
    Offline,
}
