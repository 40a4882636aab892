//! How thoroughly the bench measures.

/// The counts and rounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Those of BENCHMARKS.md.
    Full,
    /// One round with the smallest counts: it shows that everything runs and that no flow is lost, and no speed.
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
