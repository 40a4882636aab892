//! Finds paths in documents that name no file.

use std::path::Path;

/// The documents for developers. Their paths start at the root of the workspace.
pub(super) const DOCUMENTS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Finds paths in backticks that do not exist under `root`. `{a,b}` in a path means both `a` and `b`.
pub(super) fn missing(root: &Path, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let names = line.split('`').skip(1).step_by(2).filter(|name| is_path(root, name));
        let wrong = names.flat_map(alternatives).filter(|path| !root.join(path).exists());
        found.extend(wrong.map(|path| (number, format!("`{path}`: there is no such file or folder"))));
    }
    found
}

/// Whether this text is a path in the workspace: its first part is a folder of the root, or it names a source or document.
fn is_path(root: &Path, name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-{},".contains(c);
    let Some((first, _)) = name.split_once('/') else { return false };
    // A file under `target` exists only after a build.
    name.chars().all(plain) && first != "target" && (root.join(first).is_dir() || name.ends_with(".rs"))
}

/// The paths that a path with one pair of braces means.
fn alternatives(path: &str) -> Vec<String> {
    let parts = path.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?)));
    let Some((start, (names, end))) = parts else { return vec![path.to_owned()] };
    names.split(',').map(|name| format!("{start}{name}{end}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::missing;

    #[test]
    fn a_path_without_a_file_is_reported() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let text = "`xtask/src/main.rs`, `xtask/src/{rules,lint}.rs`, `target/x/y`, `--false-alarms N/PERIOD`, `and/or`\n\
                    `xtask/src/{rules,nothing}.rs` and `gone/file.rs`";
        let lines: Vec<_> = missing(root, text).into_iter().collect();
        let expected = ["`xtask/src/nothing.rs`", "`gone/file.rs`"]
            .map(|path| (2, format!("{path}: there is no such file or folder")));
        assert_eq!(lines, expected);
    }
}
