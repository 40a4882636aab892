//! The effort of a measurement: full, or one round.

/// The counts and rounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// The counts and rounds of BENCHMARKS.md.
    Full,
    /// One round with the smallest counts. It shows that everything runs and that no flow is lost, but no speed.
    Once,
}

impl Effort {
    /// The value for this effort.
    pub(crate) fn pick<T>(self, full: T, once: T) -> T {
        match self {
            Self::Full => full,
            Self::Once => once,
        }
    }
}
