//! Limits the length of a file, so that a file has one purpose and a reader sees all of it.

use std::path::Path;

use super::source;

/// The largest number of lines outside tests.
const MOST: usize = 450;

/// The folders whose files are tests and their tools, which are lists of cases.
const OF_TESTS: &[&str] = &["tests", "flowml-common/tests", "flowml-user/tests"];

/// Checks the length of a file without its module of tests.
pub(super) fn check(file: &Path, text: &str) -> Option<(usize, String)> {
    let is_test = OF_TESTS.iter().any(|folder| file.starts_with(folder))
        || file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"));
    let lines = source::without_tests(text).lines().count();
    (!is_test && lines > MOST)
        .then(|| (MOST, format!("{lines} lines without tests; expected at most {MOST}: divide the file by purpose")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_files_outside_tests_are_reported() {
        let long = "line\n".repeat(MOST + 1);
        let check = |file: &str, text: &str| check(Path::new(file), text).is_some();
        assert!(check("xtask/src/long.rs", &long));
        assert!(!check("xtask/src/short.rs", &long[5..]));
        assert!(!check("tests/src/lab.rs", &long));
        assert!(!check("flowml-user/src/session/tests.rs", &long));
        assert!(!check("flowml-user/src/window_tests.rs", &long));
        assert!(!check("xtask/src/tested.rs", &format!("code\n#[cfg(test)]\nmod tests {{\n{long}}}\n")));
        assert!(check("xtask/src/declares.rs", &format!("#[cfg(test)]\nmod tests;\n{long}")));
    }
}
