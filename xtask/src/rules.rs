//! Checks the rules that no other tool checks: imports of modules, files that import each other, the
//! first line and the length of a file, forbidden words, paths in documents, and the number of `unsafe`.

mod circles;
mod length;
mod paths;
mod source;
mod unsafe_code;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A crate whose modules have an order.
struct Ordered {
    /// The folder of the crate.
    folder: &'static str,
    /// The file that declares the modules.
    root: &'static str,
    /// The modules in the order of data flow. Each imports only from modules to its left.
    modules: &'static [&'static str],
    /// Modules of tests, which may import everything.
    of_tests: &'static [&'static str],
}

/// The agent's binary comes first, as its folder is within that of the library.
const ORDERED: [Ordered; 2] = [
    Ordered {
        folder: "flowml-user/src/bin/flowml",
        root: "main",
        modules: &["args", "ui", "tui", "console", "telemetry", "inputs", "evaluation", "report", "commands"],
        of_tests: &["golden", "sample", "console_tests"],
    },
    Ordered {
        folder: "flowml-user/src",
        root: "lib",
        modules: &[
            "object",
            "process",
            "capture",
            "session",
            "record",
            "features",
            "sequential",
            "learning",
            "incident",
            "export",
            "dataset",
            "engine",
        ],
        of_tests: &[],
    },
];

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    file: PathBuf,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Checks every Rust file and every document under `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let mut add = |path: &Path, found: Vec<(usize, String)>| {
        let file = path.strip_prefix(root).unwrap_or(path);
        violations.extend(found.into_iter().map(|(line, message)| Violation { file: file.to_owned(), line, message }));
    };
    let mut unsafe_numbers = unsafe_code::Numbers::new();
    let mut crates = circles::Crates::default();
    for (path, text) in texts(root, "rs")? {
        let file = path.strip_prefix(root).unwrap_or(&path);
        let parts = source::divide(&text);
        let found = purpose(&text).into_iter().chain(words::unfinished(&text)).chain(order(file, &text));
        let found = found.chain(length::check(file, &text));
        let private = if file == Path::new(words::FILE) { Vec::new() } else { words::in_source(&parts) };
        add(&path, found.chain(private).collect());
        unsafe_code::add(&mut unsafe_numbers, file, &parts);
        crates.add(file, &parts.code);
    }
    for (file, message) in crates.circles() {
        add(file, vec![(1, message)]);
    }
    for (member, message) in unsafe_code::compare(&unsafe_numbers) {
        add(Path::new(member), vec![(1, message)]);
    }
    for (path, text) in texts(root, "md")? {
        let is = |names: &[&str]| path.parent() == Some(root) && names.iter().any(|name| path.ends_with(name));
        if !is(&[words::LIST]) {
            add(&path, words::in_document(&text));
        }
        if is(paths::DOCUMENTS) {
            add(&path, paths::missing(root, &text));
        }
    }
    Ok(violations)
}

/// The files under `root` with this extension and their texts, sorted by path.
pub(crate) fn texts(root: &Path, extension: &str) -> Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    collect(root, extension, &mut files)?;
    ensure!(!files.is_empty(), "{}: expected files with the extension {extension}", root.display());
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok((path, text))
    };
    files.into_iter().map(read).collect()
}

/// Finds the files with an extension. A folder that contains a CACHEDIR.TAG belongs to a tool and is left out, for example cargo's
/// target directory.
fn collect(folder: &Path, extension: &str, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden && !path.join("CACHEDIR.TAG").exists() {
            collect(&path, extension, files)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(())
}

/// Checks that the first line of a file states its purpose.
fn purpose(text: &str) -> Option<(usize, String)> {
    let stated = text.lines().next().and_then(|line| line.strip_prefix("//! ")).is_some_and(|line| !line.is_empty());
    (!stated).then(|| (1, "expected the file's purpose as its first line, `//! …`".to_owned()))
}

/// Checks that the agent's modules import only from their left.
fn order(file: &Path, text: &str) -> Vec<(usize, String)> {
    let within = |ordered: &'static Ordered| Some((ordered, file.strip_prefix(ordered.folder).ok()?));
    let Some((ordered, within)) = ORDERED.iter().find_map(within) else { return Vec::new() };
    let Ordered { root, modules, of_tests, .. } = ordered;
    let top = within.iter().next().unwrap_or_default();
    let module = Path::new(top).with_extension("").to_string_lossy().into_owned();
    if module == *root {
        let is_known = |name: &str| modules.contains(&name) || of_tests.contains(&name);
        let unknown = declared(text).into_iter().filter(|(_, name)| !is_known(name));
        return unknown
            .map(|(line, name)| (line, format!("module `{name}` is missing in ORDERED of the rules")))
            .collect();
    }
    let Some(place) = modules.iter().position(|&name| name == module) else {
        // Modules of tests may import everything.
        return Vec::new();
    };
    let right: BTreeSet<&str> = modules[place + 1..].iter().copied().collect();
    let imports = imports(text).into_iter().filter(|(_, name)| right.contains(name.as_str()));
    imports.map(|(line, name)| (line, format!("`{module}` imports `{name}`, which comes later in its order"))).collect()
}

/// The modules that a crate's root declares, with line numbers.
fn declared(text: &str) -> Vec<(usize, String)> {
    let module = |line: &str| {
        let (_, name) = line.split_once("mod ")?;
        name.strip_suffix(';').map(str::to_owned)
    };
    let lines = (1..).zip(text.lines());
    lines.filter_map(|(number, line)| Some((number, module(code(line).trim())?))).collect()
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// The top-level modules that follow `crate::`, alone or in braces, with line numbers.
fn imports(text: &str) -> Vec<(usize, String)> {
    const ROOT: &str = "crate::";
    let text: String = text.lines().flat_map(|line| [code(line), "\n"]).collect();
    let mut found = Vec::new();
    for (at, _) in text.match_indices(ROOT) {
        let line = 1 + text[..at].matches('\n').count();
        found.extend(heads(&text[at + ROOT.len()..]).into_iter().map(|name| (line, name)));
    }
    found
}

/// The first name of each path: `a` of `a::b`, `a` and `c` of `{a::b, c}`.
fn heads(path: &str) -> Vec<String> {
    let name = |path: &str| path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut depth = 1;
    let mut heads = vec![name(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{declared, heads, imports, order, purpose};

    #[test]
    fn a_module_imports_only_from_its_left() {
        let text = "//! Sessions.\nuse crate::{object, capture::Capture,\n  export::{Sink, csv}};\n";
        let right = order(Path::new("flowml-user/src/session/mod.rs"), text);
        assert_eq!(right, [(2, "`session` imports `export`, which comes later in its order".to_owned())]);
        assert_eq!(order(Path::new("flowml-user/src/engine.rs"), text), []);
        assert_eq!(order(Path::new("flowml-user/src/bin/flowml/main.rs"), text), []);
        let text = "//! Tables.\nuse crate::{args::Run, report::page};\n";
        let right = order(Path::new("flowml-user/src/bin/flowml/ui/tables.rs"), text);
        assert_eq!(right, [(2, "`ui` imports `report`, which comes later in its order".to_owned())]);
        assert_eq!(order(Path::new("tests/src/session.rs"), text), []);
    }

    #[test]
    fn a_path_within_code_is_an_import_and_a_path_in_a_comment_is_not() {
        let text = "// crate::export::Sink\nfn f() {\n    g(crate::learning::Model::new()); // crate::export\n}\n";
        assert_eq!(imports(text), [(3, "learning".to_owned())]);
    }

    #[test]
    fn a_new_module_without_a_place_in_the_order_is_refused() {
        let text = "//! The crate.\npub mod capture;\nmod elsewhere;\n";
        assert_eq!(declared(text), [(2, "capture".to_owned()), (3, "elsewhere".to_owned())]);
        assert_eq!(order(Path::new("flowml-user/src/lib.rs"), text).len(), 1);
    }

    #[test]
    fn a_group_gives_the_first_name_of_each_path() {
        assert_eq!(heads("{a::{b, c}, d::e, f}; x, y"), ["a", "d", "f"]);
        assert_eq!(heads("a::b::{c, d};"), ["a"]);
    }

    #[test]
    fn a_file_begins_with_its_purpose() {
        assert_eq!(purpose("//! The purpose.\n"), None);
        for text in ["", "//!\n", "use std::fs;\n//! Late.\n", "/// Of an item.\n"] {
            assert!(purpose(text).is_some(), "{text:?}");
        }
    }
}
