//! `cargo xtask setup`: finds or installs what builds and tests need.

mod catalogue;
mod install;
mod python;
mod survey;

use anyhow::{Context, Result, bail};

pub(crate) use self::catalogue::Need;
pub(crate) use self::survey::cargo_deny;

use self::install::install;
use self::survey::{Thing, missing, print_table, survey};
use crate::shell;
use crate::workspace::Workspace;

/// Find or install what builds and tests need, and print what was found.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install nothing, and fail if something is missing.
    #[arg(long)]
    check: bool,
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let needs = [
        Need::Kernel,
        Need::Lint,
        Need::Traffic,
        Need::Peers,
        Need::Engines,
        Need::Readers,
        Need::Collectors,
        Need::Corpus,
        Need::Fuzz,
        Need::Package,
        Need::Static,
        Need::Installed,
        Need::Guest,
    ];
    print_table(&survey(workspace, &needs));
    if arguments.check {
        let missing = missing(workspace, &needs);
        if !missing.is_empty() {
            bail!("missing: {}; run `cargo xtask setup`", names(&missing));
        }
        return Ok(());
    }
    ensure(workspace, &needs)
}

/// Installs what is missing for these needs, and prints it. Prints nothing if nothing is missing.
pub(crate) fn ensure(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let wanted = missing(workspace, needs);
    if wanted.is_empty() {
        return Ok(());
    }
    for thing in &wanted {
        eprintln!("missing: {} ({})", thing.name, thing.why);
    }
    let outcome = install(workspace, &wanted);
    let left = missing(workspace, needs);
    if left.is_empty() {
        // One installation may have failed, and another one provided the same thing.
        return Ok(());
    }
    outcome.with_context(|| format!("cannot install {}", names(&left)))?;
    bail!("{}: installed, and not found", names(&left))
}

/// Fails early if a task needs root, with the command to type.
pub(crate) fn require_root(task: &str) -> Result<()> {
    if !shell::is_root() {
        bail!("network namespaces and kernel programs need root: type `sudo -E env \"PATH=$PATH\" {task}`");
    }
    Ok(())
}

fn names(things: &[Thing]) -> String {
    things.iter().map(|thing| thing.name).collect::<Vec<_>>().join(", ")
}
