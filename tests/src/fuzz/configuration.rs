//! Parses any bytes as a configuration: a run, or an error in one line that states its position.

use std::ffi::OsString;

use std::path::Path;

use super::memory_file::MemoryFile;
use crate::args::{Arguments, Command};

pub(super) fn run(bytes: &[u8]) {
    let file = MemoryFile::new(bytes);
    if let Err(text) = read(&file.path()) {
        assert!(text.starts_with("error: ") && text.len() > 20, "{text:?}");
    }
}

/// Reads a configuration as `flowml run` does.
///
/// # Errors
/// The agent's error message, if the file is not a configuration.
pub fn read(path: &Path) -> Result<(), String> {
    let words = ["flowml", "run", "--config"].into_iter().map(OsString::from).chain([path.into()]);
    let Arguments { command } = Arguments::read(words).map_err(|error| error.render().to_string())?;
    assert!(matches!(command, Command::Run(_)), "the words are those of a run");
    Ok(())
}
