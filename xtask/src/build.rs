//! `cargo xtask build`: builds the kernel programs, then the agent that contains them.

use std::fs;

use anyhow::{Context, Result};

use crate::setup::{self, Need};
use crate::shell;
use crate::toolchain::{Compiler, TARGET};
use crate::workspace::{Profile, Workspace, static_target};

/// Build the kernel programs, then the agent that contains them.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build the agent with optimizations, as target/release/flowml. The kernel programs are always optimized.
    #[arg(long)]
    release: bool,
}

/// The effect of a compiler warning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warnings {
    Shown,
    Denied,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    agent(workspace, if arguments.release { Profile::Release } else { Profile::Dev })
}

/// Builds the kernel programs and the agent that contains them.
pub(crate) fn agent(workspace: &Workspace, profile: Profile) -> Result<()> {
    setup::ensure(workspace, &[Need::Kernel])?;
    kernel(workspace, Warnings::Shown)?;
    let mut cargo = workspace.cargo("build");
    cargo.args(["--package", "flowml-user"]);
    if profile != Profile::Dev {
        cargo.arg("--release");
    }
    if profile == Profile::Static {
        // zstd is written in C. Its objects are linked statically.
        let target = static_target();
        cargo.args(["--target", &target]).env(format!("CC_{}", target.replace('-', "_")), "musl-gcc");
    }
    shell::run(&mut cargo)
}

/// Builds the kernel programs and copies their objects to where the agent's build and the tests look for them.
pub(crate) fn kernel(workspace: &Workspace, warnings: Warnings) -> Result<()> {
    let compiler = Compiler::find().context("no compiler for the kernel programs: run `cargo xtask setup`")?;
    let mut cargo = compiler.cargo(workspace, "build");
    cargo.args(["--package", "flowml-ebpf"]);
    if warnings == Warnings::Denied {
        // Set in cargo's configuration: a compiler flag would rebuild the standard library.
        cargo.args(["-Zwarnings", "--config", "build.warnings='deny'"]);
    }
    shell::run(&mut cargo)?;
    for name in programs(workspace)? {
        place(workspace, &name)?;
    }
    Ok(())
}

/// The names of the objects that flowml-ebpf builds. cargo makes one for each file of `src/bin`.
fn programs(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root().join("flowml-ebpf/src/bin");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    Ok(names)
}

/// Copies an object if it has changed. An unchanged file does not trigger a rebuild of the agent.
fn place(workspace: &Workspace, name: &str) -> Result<()> {
    let built = workspace.kernel_target().join(TARGET).join("release").join(name);
    let object = workspace.kernel_objects().join(name).with_extension("o");
    let bytes = fs::read(&built).with_context(|| format!("{}: expected a kernel object there", built.display()))?;
    if fs::read(&object).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    // The copy is written under another name and then renamed, so that no build embeds an incomplete object.
    let half = built.with_extension("o");
    fs::create_dir_all(workspace.kernel_objects())
        .and_then(|()| fs::write(&half, bytes))
        .and_then(|()| fs::rename(&half, &object))
        .with_context(|| format!("cannot write the kernel object to {}", object.display()))
}
