//! The types of rows that flowml writes, and the files of each type in a folder.

use std::io;
use std::path::{Path, PathBuf};

use super::DatasetError;

/// The type of a row, in files or folders with rows of several types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowType {
    /// A flow.
    #[default]
    Flow,
    /// A host window.
    Host,
    /// An event of an incident.
    Incident,
}

impl RowType {
    /// All types.
    pub const ALL: [Self; 3] = [Self::Flow, Self::Host, Self::Incident];

    /// The name of the table in a folder written by `-o parquet=DIR`.
    const fn table(self) -> &'static str {
        match self {
            Self::Flow => "flows",
            Self::Host => "hosts",
            Self::Incident => "incidents",
        }
    }

    /// The files of the table in a folder written by `-o parquet=DIR`: the file of a whole run, and rotated files in
    /// order of time. Incomplete files are not included.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn files(self, folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
        let whole = folder.join(format!("{}.parquet", self.table()));
        let parts = folder.join(self.table());
        let mut files = if parts.is_dir() { parquet_files(&parts)? } else { Vec::new() };
        files.sort();
        // Without any file, the error names the file of a complete run.
        if whole.exists() || files.is_empty() {
            files.insert(0, whole);
        }
        Ok(files)
    }

    /// The value of `type` in JSON lines.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Host => "host",
            Self::Incident => "incident",
        }
    }
}

/// The complete Parquet files in a folder. Hidden files are incomplete.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let read = |source| DatasetError::Read { path: folder.to_owned(), source };
    let paths = folder.read_dir().map_err(read)?.map(|entry| entry.map(|entry| entry.path()));
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".parquet") && !name.starts_with('.')
    };
    paths.filter(|path| path.as_ref().map_or(true, is_one)).collect::<io::Result<_>>().map_err(read)
}
