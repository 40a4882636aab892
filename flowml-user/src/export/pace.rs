//! Whether a run waits for its outputs.

/// Whether the run can wait for its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It cannot: packets arrive whether rows are accepted or not, and an output must not delay the drains.
    Live,
    /// It can: a file is read as fast as its rows are accepted.
    Offline,
}
