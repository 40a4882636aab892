//! The verbosity on standard error.

/// The verbosity of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Warnings and errors.
    Errors,
    /// Also notices and the closing summary.
    Summary,
    /// Also a table at each interval, or the terminal UI.
    Tables,
}
