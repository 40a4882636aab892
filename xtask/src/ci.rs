//! `cargo xtask ci`: all checks that a change must pass before it is merged.

use std::env;

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{shell, test};

pub(crate) fn task(workspace: &Workspace) -> Result<()> {
    if env::var_os("FLOWML_BLESS").is_some() {
        bail!("FLOWML_BLESS is set: tests would write the expected files instead of comparing them; unset it");
    }
    // A Cargo.lock that does not agree with the manifests fails here.
    shell::run(workspace.cargo("tree").args(["--locked", "--workspace", "--depth", "0"]))?;
    test::task(workspace, &test::Arguments::default())
}
