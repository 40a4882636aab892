//! The two parts of the corpus, and the tools that they need.

/// The tools that something needs: those of every test, or also those that only `cargo xtask corpus` installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Equipment {
    /// The tools of every test.
    Laboratory,
    /// The tools of the corpus.
    Corpus,
}

/// A part of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For tests.
    Test,
}

impl Split {
    /// Both parts, in the order in which they are made.
    pub const ALL: [Self; 2] = [Self::Train, Self::Test];

    /// The name of its folder.
    pub const fn name(self) -> &'static str {
        self.choose("train", "test")
    }

    pub(super) const fn choose<T: Copy>(self, train: T, test: T) -> T {
        match self {
            Self::Train => train,
            Self::Test => test,
        }
    }
}
