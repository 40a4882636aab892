//! Errors of training, and the limits of training sets.

use super::checked::Checked;

/// The largest number of classes, so that counts for each pair of them fit in memory.
pub const MOST_CLASSES: usize = 1024;

/// The largest number of encoded features of a row, for the same reason.
pub(crate) const MOST_SLOTS: usize = 4096;

/// An error of training.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// There are too few rows.
    #[error("{found} rows to train on: expected at least {expected}")]
    TooFewRows {
        /// The number of rows.
        found: usize,
        /// The smallest number of rows.
        expected: usize,
    },
    /// No column has information.
    #[error("no column is left to train on: each is constant, empty, or never used")]
    NoColumns,
    /// All rows have the same class.
    #[error("all rows have the label '{0}': expected at least two labels")]
    OneClass(String),
    /// There are more labels than classes can be distinguished.
    #[error("{0} different labels: expected at most {MOST_CLASSES}; is this the column of the labels?")]
    Classes(usize),
    /// The columns give more encoded features than can be compared.
    #[error("the columns have {0} encoded features: expected at most {MOST_SLOTS}; leave out columns")]
    Slots(usize),
    /// An algorithm failed.
    #[error("{what} failed: {reason}")]
    Failed {
        /// The algorithm.
        what: &'static str,
        /// The error.
        reason: String,
    },
}

/// The fitted model, if it is valid and can be read again.
pub(crate) fn sound<T: Checked>(fitted: T) -> Result<T, LearnError> {
    match fitted.check() {
        Ok(()) => Ok(fitted),
        Err(reason) => Err(LearnError::Failed { what: T::NAME, reason }),
    }
}
