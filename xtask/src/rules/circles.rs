//! Checks that no files import each other, directly or through others: a reader can begin with the files that import
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::source;

/// The folders of crates, those within others first.
const CRATES: &[&str] = &[
    "flowml-user/src/bin/flowml",
    "flowml-user/src",
    "flowml-common/src",
    "flowml-ebpf/src",
    "xtask/src",
    "tests/src",
];

/// The largest number of exports of an item that are followed.
const MOST_EXPORTS: usize = 8;

/// A path of modules, from the root of its crate.
type Module = Vec<String>;

/// The files of a crate by module.
#[derive(Default)]
struct Crate {
    files: BTreeMap<Module, PathBuf>,
    /// The modules that the file of a module names. The last part may be an item.
    named: BTreeMap<Module, Vec<Module>>,
    /// The origin of an item that a module exports again.
    exported: BTreeMap<Module, Module>,
}

/// The modules that each module imports.
struct Imports<'a>(BTreeMap<&'a Module, BTreeSet<&'a Module>>);

impl<'a> Imports<'a> {
    fn of(&self, module: &Module) -> impl Iterator<Item = &'a Module> + use<'a, '_> {
        self.0.get(module).into_iter().flatten().copied()
    }

    /// An import of a module from which imports lead back to it.
    fn back_to(&self, module: &Module) -> Option<&'a Module> {
        self.of(module).find(|found| self.reaches(found, module))
    }

    fn reaches(&self, from: &'a Module, to: &Module) -> bool {
        let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
        while let Some(module) = open.pop() {
            if module == to {
                return true;
            }
            open.extend(self.of(module).filter(|found| seen.insert(*found)));
        }
        false
    }
}

/// The crates of the workspace.
#[derive(Default)]
pub(super) struct Crates(BTreeMap<&'static str, Crate>);

impl Crates {
    /// Adds the code of a file, whose path is relative to the workspace. Tests are left out, as they import what they
    /// test.
    pub(super) fn add(&mut self, file: &Path, code: &str) {
        let Some(folder) = CRATES.iter().find(|folder| file.starts_with(folder)) else { return };
        let Some(module) = file.strip_prefix(folder).ok().and_then(module).filter(|module| !is_test(module)) else {
            return;
        };
        let of_crate = self.0.entry(folder).or_default();
        of_crate.files.insert(module.clone(), file.to_owned());
        let mut code = source::without_tests(code).to_owned();
        while let Some((statement, is_export, rest)) = next_use(&code) {
            for path in expand(&statement) {
                let Some(path) = absolute(&module, &path) else { continue };
                if is_export {
                    let name = path.last().cloned().unwrap_or_default();
                    of_crate.exported.insert([module.clone(), vec![name]].concat(), path);
                } else {
                    of_crate.named.entry(module.clone()).or_default().push(path);
                }
            }
            code = rest;
        }
        let paths = inline(&code).into_iter().filter_map(|path| absolute(&module, &path));
        of_crate.named.entry(module.clone()).or_default().extend(paths);
    }

    /// The files that import each other.
    pub(super) fn circles(&self) -> Vec<(&Path, String)> {
        self.0.values().flat_map(Crate::circles).collect()
    }
}

impl Crate {
    fn circles(&self) -> Vec<(&Path, String)> {
        let imports = self.imports();
        let found = self.files.iter().filter_map(|(module, file)| {
            let other = self.files.get(imports.back_to(module)?)?;
            Some((file.as_path(), format!("it and {} import each other, directly or through others", other.display())))
        });
        found.collect()
    }

    fn imports(&self) -> Imports<'_> {
        let mut imports = BTreeMap::<_, BTreeSet<_>>::new();
        for (module, paths) in &self.named {
            let found = paths.iter().filter_map(|path| self.file_of(path, MOST_EXPORTS));
            imports.insert(module, found.filter(|found| *found != module).collect());
        }
        Imports(imports)
    }

    /// The module with a file of its own in which the item is defined.
    fn file_of(&self, path: &Module, depth: usize) -> Option<&Module> {
        for length in (0..=path.len()).rev() {
            let (module, item) = path.split_at(length);
            let Some((module, _)) = self.files.get_key_value(module) else { continue };
            let export =
                item.first().and_then(|name| self.exported.get(&[module.clone(), vec![name.clone()]].concat()));
            return match export {
                Some(origin) if depth > 0 => self.file_of(&[&origin[..], &item[1..]].concat(), depth - 1),
                _ => Some(module),
            };
        }
        None
    }
}

/// The module of a file in the folder of its crate.
fn module(file: &Path) -> Option<Module> {
    let mut parts: Module = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.first().is_some_and(|first| first == "bin") {
        return None;
    }
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    Some(parts)
}

fn is_test(module: &Module) -> bool {
    module.iter().any(|part| part.ends_with("tests"))
}

/// The first `use` of a code, whether it exports, and the code without it.
fn next_use(code: &str) -> Option<(String, bool, String)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (at, _) = code.match_indices("use ").find(|(at, _)| !code[..*at].ends_with(is_name))?;
    let end = at + code[at..].find(';')?;
    let before = code[..at].trim_end();
    let line = before.rsplit(['\n', ';', '}', '{']).next().unwrap_or_default();
    let is_export = line.trim_start().starts_with("pub");
    Some((code[at + 4..end].to_owned(), is_export, format!("{} {}", &code[..at], &code[end + 1..])))
}

/// The paths of a tree: `a::b` and `a::c` of `a::{b, c}`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, group)) = tree.split_once('{') else {
        let path = tree.split_once(" as ").map_or(tree, |(path, _)| path);
        return vec![path.trim_end_matches("::*").to_owned()];
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[from..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part).into_iter().map(|path| format!("{before}{path}"))).collect()
}

/// The paths in code that begin with `crate`, `super` or `self`.
fn inline(code: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let paths = code.split(|c| !is_path(c)).map(|path| path.trim_end_matches(':'));
    paths
        .filter(|path| ["crate::", "super::", "self::"].iter().any(|root| path.starts_with(root)))
        .map(str::to_owned)
        .collect()
}

/// The path from the root of the crate. `None` if it begins with the name of another crate.
fn absolute(module: &Module, path: &str) -> Option<Module> {
    let mut parts = path.split("::").map(str::trim).peekable();
    let mut absolute = match *parts.peek()? {
        "crate" => Vec::new(),
        "self" | "super" => module.clone(),
        _ => return None,
    };
    for part in parts {
        match part {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            name => absolute.push(name.to_owned()),
        }
    }
    Some(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let mut crates = Crates::default();
        files
            .iter()
            .for_each(|(file, text)| crates.add(&Path::new("xtask/src").join(file), &source::divide(text).code));
        crates.circles().into_iter().map(|(file, _)| file.display().to_string()).collect()
    }

    #[test]
    fn files_that_import_each_other_are_reported() {
        let both = ["xtask/src/a.rs", "xtask/src/b/mod.rs"];
        assert_eq!(circles(&[("a.rs", "use crate::b::B;"), ("b/mod.rs", "use super::a::{self, A};")]), both);
        assert_eq!(circles(&[("a.rs", "fn f() { crate::b::b() }"), ("b/mod.rs", "use crate::{a::A, c};")]), both);
        let three = [("a.rs", "use crate::b::B;"), ("b/mod.rs", "use crate::c::C;"), ("c.rs", "use crate::a::A;")];
        assert_eq!(circles(&three).len(), 3);
    }

    #[test]
    fn what_a_file_exports_again_belongs_to_its_origin() {
        let parent = ("b/mod.rs", "mod c;\nmod d;\npub use self::d::D;");
        assert!(circles(&[parent, ("b/c.rs", "use super::D;"), ("b/d.rs", "pub struct D;")]).is_empty());
        let defines = ("b/mod.rs", "use self::c::C;\npub struct D;");
        assert_eq!(circles(&[defines, ("b/c.rs", "use super::D;")]).len(), 2);
    }

    #[test]
    fn tests_comments_and_other_crates_are_no_imports() {
        let a = ("a.rs", "use crate::b::B;");
        for text in [
            "// use crate::a::A;\nuse std::a::A;",
            "//! [`crate::a::A`]",
            "fn b() {}\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}",
        ] {
            assert!(circles(&[a, ("b.rs", text)]).is_empty(), "{text}");
        }
        assert!(
            circles(&[
                ("a.rs", "fn a() {}"),
                ("b/tests.rs", "use crate::a; use super::b;"),
                ("b/mod.rs", "use crate::a;")
            ])
            .is_empty()
        );
    }
}
