//! Compares texts of tests with committed files; `FLOWML_BLESS=1 cargo test` rewrites the files.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The path of a committed file. Files are read at run time, so a rewritten file needs no new build.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Reads the file `name`, relative to the package's folder.
pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

/// Compares `text` with the file `name`.
pub(crate) fn assert_is(name: &str, text: &str) {
    if env::var_os("FLOWML_BLESS").is_some() {
        fs::write(path(name), text).unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
    }
    assert!(read(name) == text, "{name} is not what was rendered (FLOWML_BLESS=1 rewrites it):\n{text}");
}

/// `text` with `table` inserted between the marks `name`.
pub(crate) fn replaced(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->\n"));
    let (head, rest) = text.split_once(&begin).expect("the document has the mark of the start");
    let (_, tail) = rest.split_once(&end).expect("the document has the mark of the end");
    format!("{head}{begin}{table}{end}{tail}")
}
