//! Makes a Debian package of an agent: the tree of installed files, and dpkg's control files.

use std::env::consts::ARCH;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{place, write};
use crate::shell;
use crate::workspace::Workspace;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Installed files: the path in the repository, and the path in the package.
const FILES: &[(&str, &str)] = &[
    ("packaging/flowml.service", "usr/lib/systemd/system/flowml.service"),
    ("packaging/flowml.toml", "etc/flowml/flowml.toml"),
    ("README.md", "usr/share/doc/flowml/README.md"),
    ("ARCHITECTURE.md", "usr/share/doc/flowml/ARCHITECTURE.md"),
    ("SECURITY.md", "usr/share/doc/flowml/SECURITY.md"),
    ("BENCHMARKS.md", "usr/share/doc/flowml/BENCHMARKS.md"),
    ("CHANGELOG.md", "usr/share/doc/flowml/changelog"),
];

/// Folders that are installed beside the README, which links to their files.
const DOCUMENTS: &[&str] = &["docs", "docs/decisions"];

/// The installed path of each shell's completions.
const COMPLETIONS: &[(&str, &str)] = &[
    ("flowml.bash", "usr/share/bash-completion/completions/flowml"),
    ("_flowml", "usr/share/zsh/vendor-completions/_flowml"),
    ("flowml.fish", "usr/share/fish/vendor_completions.d/flowml.fish"),
];

/// The scripts that dpkg runs.
const SCRIPTS: &[&str] = &["postinst", "prerm", "postrm"];

/// Makes the package in `folder`.
pub(super) fn package(workspace: &Workspace, folder: &Path, agent: &Path, pages: &Path) -> Result<PathBuf> {
    let tree = folder.join("debian");
    place(agent, &tree.join("usr/bin/flowml"), 0o755)?;
    for (from, to) in FILES {
        place(&workspace.root().join(from), &tree.join(to), 0o644)?;
    }
    for folder in DOCUMENTS {
        for document in files_of(&workspace.root().join(folder))?.into_iter().filter(|path| path.is_file()) {
            let name = document.file_name().unwrap_or_default();
            place(&document, &tree.join("usr/share/doc/flowml").join(folder).join(name), 0o644)?;
        }
    }
    for (from, to) in COMPLETIONS {
        place(&pages.join(from), &tree.join(to), 0o644)?;
    }
    let is_page = |path: &PathBuf| path.extension().is_some_and(|section| section == "1");
    for page in files_of(pages)?.into_iter().filter(is_page) {
        let to = tree.join("usr/share/man/man1").join(page.file_name().unwrap_or_default());
        place(&page, &to, 0o644)?;
        compress(&to)?;
    }
    compress(&tree.join("usr/share/doc/flowml/changelog"))?;
    write(&tree.join("usr/share/doc/flowml/third-party.txt"), third_party(workspace)?.as_bytes(), 0o644)?;
    let templates = workspace.packaging().join("debian");
    let template = |name: &str| {
        let path = templates.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mit = fs::read_to_string(workspace.root().join("LICENSE-MIT")).context("cannot read LICENSE-MIT")?;
    let copyright = template("copyright")?.replace("@MIT@", &indented(&mit));
    write(&tree.join("usr/share/doc/flowml/copyright"), copyright.as_bytes(), 0o644)?;

    let control = template("control")?
        .replace("@VERSION@", VERSION)
        .replace("@ARCHITECTURE@", architecture()?)
        .replace("@SIZE@", &kib(&tree)?.to_string());
    write(&tree.join("DEBIAN/control"), control.as_bytes(), 0o644)?;
    write(&tree.join("DEBIAN/conffiles"), b"/etc/flowml/flowml.toml\n", 0o644)?;
    for script in SCRIPTS {
        place(&templates.join(script), &tree.join("DEBIAN").join(script), 0o755)?;
    }
    let package = folder.join(format!("flowml_{VERSION}_{}.deb", architecture()?));
    // All files belong to root, whichever user builds.
    let mut build = Command::new("dpkg-deb");
    shell::run(build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&package))?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    Ok(package)
}

/// Debian's name of the architecture.
fn architecture() -> Result<&'static str> {
    match ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("{other}: expected a machine that Debian's name is known of here, x86_64 or aarch64"),
    }
}

/// The files of a folder, sorted by name.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut files = read().with_context(|| format!("cannot read {}", folder.display()))?;
    files.sort();
    Ok(files)
}

/// Compresses as Debian requires for man pages and changelogs: best compression, without the file's name and time.
fn compress(path: &Path) -> Result<()> {
    shell::run(Command::new("gzip").args(["-9", "-n"]).arg(path))
}

/// The libraries that are linked into the agent, with their licences.
fn third_party(workspace: &Workspace) -> Result<String> {
    let mut tree = workspace.cargo("tree");
    tree.args(["--package", "flowml-user", "--edges", "normal", "--prefix", "none", "--no-dedupe"]);
    let listed = shell::read(tree.args(["--format", "{p} {l}"])).context("`cargo tree` does not list the libraries")?;
    let mut lines: Vec<&str> = listed.lines().filter(|line| !line.starts_with("flowml-")).collect();
    lines.sort_unstable();
    lines.dedup();
    Ok(lines.join("\n") + "\n")
}

/// Indents a text as a continuation of a field of Debian's copyright file: with a space, and a dot for an empty line.
fn indented(text: &str) -> String {
    let line = |line: &str| if line.trim().is_empty() { " .".to_owned() } else { format!(" {line}") };
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The size of all files in KiB, each rounded up, as dpkg computes it.
fn kib(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        let metadata = path.symlink_metadata().with_context(|| format!("cannot look at {}", path.display()))?;
        sum += if metadata.is_dir() { 1 + kib(&path)? } else { metadata.len().div_ceil(1024) };
    }
    Ok(sum)
}
