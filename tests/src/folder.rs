//! A folder for the files of a test.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A folder for the files of a test. It is removed at the end of the test.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// A new, empty folder, whose name starts with `name`.
    pub fn new(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("flowml-{name}-")).tempdir();
        Ok(Self(folder.context("making a folder")?))
    }

    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path of a file in it, as an argument of a command.
    #[must_use]
    pub fn argument(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file and returns its path, as an argument of a command.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let path = self.path(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        Ok(path.display().to_string())
    }
}
