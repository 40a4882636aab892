//! The keys and values of the file of `--config`, and the keys that changed between two readings.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The content of the file, without the keys that the command line also sets. The command line takes precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(super) path: PathBuf,
    pub(super) keys: Vec<Key>,
}

/// A key, and the arguments that are equivalent to its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) arguments: Vec<OsString>,
}

impl Configuration {
    /// The path of the file.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The keys whose values differ.
    #[must_use]
    pub(crate) fn changed<'a>(&'a self, later: &'a Self) -> Vec<&'a str> {
        let only = |one: &'a Self, other: &'a Self| one.keys.iter().filter(|key| !other.keys.contains(key));
        let mut names: Vec<&str> = only(self, later).chain(only(later, self)).map(|key| key.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
