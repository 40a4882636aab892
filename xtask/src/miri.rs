//! `cargo xtask miri`: runs the tests of the code with `unsafe` in Miri, which finds undefined behaviour.

use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use crate::{shell, toolchain};

/// The tests that Miri runs, as arguments of `cargo miri test`. It calls neither the kernel nor C libraries.
const TESTS: &[&[&str]] = &[
    // Parser, statistics and their packed types, which kernel and userspace share.
    &["--package", "flowml-common"],
    // The memory that is shared with the kernel.
    &["--package", "flowml-user", "--lib", "capture::shared"],
];

const INSTALL: &str = "no nightly toolchain with Miri is installed: type \
                       `rustup toolchain install nightly --profile minimal --component miri --component rust-src`";

pub(crate) fn task(workspace: &Workspace) -> Result<()> {
    let toolchain = toolchain::miri().context(INSTALL)?;
    for tests in TESTS {
        let mut miri = Command::new("rustup");
        miri.args(["run", &toolchain, "cargo", "miri", "test"]).args(*tests).current_dir(workspace.root());
        miri.env_remove("CARGO").env_remove("RUSTC").env("CARGO_TARGET_DIR", workspace.miri());
        // proptest reads files and variables. Miri runs a test a thousand times slower.
        shell::run(miri.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "10"))?;
    }
    Ok(())
}
