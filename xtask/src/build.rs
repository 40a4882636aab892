//! `cargo xtask build`: the kernel object, then the agent that carries it.

use std::fs;

use anyhow::{Context, Result};

use crate::setup::{self, Need};
use crate::shell;
use crate::toolchain::{Compiler, TARGET};
use crate::workspace::Workspace;

/// Build the kernel programs, then the agent that carries them.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build the agent with optimizations, as target/release/flowml; the kernel programs always have them.
    #[arg(long)]
    release: bool,
}

/// What a compiler's warning does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warnings {
    Shown,
    Denied,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::ensure(workspace, &[Need::Kernel])?;
    kernel(workspace, Warnings::Shown)?;
    let mut cargo = workspace.cargo("build");
    cargo.args(["--package", "flowml-user"]);
    if arguments.release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)
}

/// The agent as it is shipped, at `target/release/flowml`.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    task(workspace, &Arguments { release: true })
}

/// Builds the kernel programs and puts the object where the agent's build takes it.
pub(crate) fn kernel(workspace: &Workspace, warnings: Warnings) -> Result<()> {
    let compiler = Compiler::find().context("no compiler for the kernel programs: type `cargo xtask setup`")?;
    let mut cargo = compiler.cargo(workspace, "build");
    cargo.args(["--package", "flowml-ebpf"]);
    if warnings == Warnings::Denied {
        // By cargo's configuration and not by a compiler flag, which would rebuild the standard library.
        cargo.args(["-Zwarnings", "--config", "build.warnings='deny'"]);
    }
    shell::run(&mut cargo)?;
    place(workspace)
}

/// Copies the object where it differs: an untouched one leaves the agent as it is built.
fn place(workspace: &Workspace) -> Result<()> {
    let built = workspace.kernel_target().join(TARGET).join("release").join("flowml-ebpf");
    let object = workspace.kernel_object();
    let bytes = fs::read(&built).with_context(|| format!("{}: expected the kernel object there", built.display()))?;
    if fs::read(&object).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let folder = object.parent().context("the kernel object has no folder")?;
    // Written aside and moved in, so that no build embeds half an object.
    let half = workspace.kernel_target().join("flowml.o");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&half, bytes))
        .and_then(|()| fs::rename(&half, &object))
        .with_context(|| format!("cannot write the kernel object to {}", object.display()))
}
