//! Parses any bytes as a configuration: a run, or an error in one line that states its position.

use std::ffi::OsString;

use flowml_user::cli::{Arguments, Command};

use super::MemoryFile;

pub(super) fn run(bytes: &[u8]) {
    let file = MemoryFile::new(bytes);
    let words = ["flowml", "run", "--config"].into_iter().map(OsString::from).chain([file.path().into()]);
    match Arguments::read(words) {
        Ok(Arguments { command }) => assert!(matches!(command, Command::Run(_)), "the words are those of a run"),
        Err(error) => {
            let text = error.render().to_string();
            assert!(text.starts_with("error: ") && text.len() > 20, "{text:?}");
        }
    }
}
