//! `cargo xtask fuzz`: searches for inputs that break an invariant, guided by coverage.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Need};
use crate::shell;
use crate::workspace::Workspace;

/// Search for inputs that break an invariant of the parser, the table, the sessions or a reader.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target: a folder of tests/fuzz/corpus [default: all, one after the other]
    target: Option<String>,
    /// Duration for each target in seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Instead, replace the committed inputs by the smallest set with the coverage of all inputs found
    #[arg(long)]
    minimize: bool,
}

/// Length of the longest input in bytes. Longer inputs reach no more code.
const LONGEST: u32 = 4096;

/// Targets that need longer inputs, with the length in bytes.
const LONGER: [(&str, u32); 2] = [("models", 32_768), ("parquet", 16_384)];

/// Memory limit of a target in MiB: all inputs and their coverage, and a window of zstd (128 MiB).
const MEMORY_MIB: u32 = 2048;

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::ensure(workspace, &[Need::Fuzz])?;
    let found = workspace.fuzz().join("corpus");
    let mut seeds = workspace.cargo("run");
    shell::run(seeds.args(["--package", "flowml-tests", "--example", "seeds", "--"]).arg(&found))?;
    let known = targets(workspace)?;
    let chosen: Vec<_> = match &arguments.target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!("there is no target {target}; expected one of {}", known.join(", ")),
    };
    for target in chosen {
        let (found, committed) = (found.join(&target), committed(workspace).join(&target));
        if arguments.minimize {
            minimize(workspace, &target, &found, &committed)?;
        } else {
            feed(workspace, &target, arguments.seconds, &found, &committed)?;
        }
    }
    Ok(())
}

fn committed(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests/fuzz/corpus")
}

/// The targets, by the names of their input folders.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = committed(workspace);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The command that runs the target, as cargo-fuzz does. The address sanitizer is off: it would find little, because
/// hardly any code is unsafe, and halve the speed.
fn fuzzer(workspace: &Workspace, target: &str) -> Command {
    let mut cargo = workspace.cargo("fuzz");
    cargo.args(["run", target, "--sanitizer", "none", "--target-dir"]).arg(workspace.fuzz());
    // Coverage is an unstable flag. A stable compiler accepts it with RUSTC_BOOTSTRAP.
    cargo.current_dir(workspace.root().join("tests")).env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR");
    cargo
}

fn feed(workspace: &Workspace, target: &str, seconds: u32, found: &Path, committed: &Path) -> Result<()> {
    let mut fuzzer = fuzzer(workspace, target);
    fuzzer.arg(found).arg(committed).arg("--");
    let longest = LONGER.iter().find(|(longer, _)| *longer == target).map_or(LONGEST, |(_, length)| *length);
    fuzzer.args([format!("-max_total_time={seconds}"), format!("-max_len={longest}")]);
    fuzzer.args([format!("-rss_limit_mb={MEMORY_MIB}"), "-timeout=10".to_owned(), "-print_final_stats=1".to_owned()]);
    shell::run(&mut fuzzer)
}

fn minimize(workspace: &Workspace, target: &str, found: &Path, committed: &Path) -> Result<()> {
    let smallest = workspace.fuzz().join("smallest").join(target);
    if smallest.exists() {
        fs::remove_dir_all(&smallest).with_context(|| format!("cannot remove {}", smallest.display()))?;
    }
    fs::create_dir_all(&smallest).with_context(|| format!("cannot make {}", smallest.display()))?;
    let mut fuzzer = fuzzer(workspace, target);
    shell::run(fuzzer.arg(&smallest).arg(found).arg(committed).args(["--", "-merge=1"]))?;
    fs::remove_dir_all(committed).with_context(|| format!("cannot remove {}", committed.display()))?;
    fs::create_dir_all(committed).with_context(|| format!("cannot make {}", committed.display()))?;
    for entry in fs::read_dir(&smallest).with_context(|| format!("cannot read {}", smallest.display()))? {
        let path = entry?.path();
        let name = path.file_name().context("an input without a name")?;
        fs::copy(&path, committed.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    Ok(())
}
