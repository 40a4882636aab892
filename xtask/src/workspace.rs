//! Where things are: the sources, cargo, and what the builds leave behind.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// How the agent and what belongs to it are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly, as the tests are.
    Dev,
    /// For the machine that builds it.
    Release,
    /// For any machine of its kind: linked statically with musl.
    Static,
}

/// The target of [`Profile::Static`].
pub(crate) fn static_target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

impl Profile {
    /// In the target directory.
    fn folder(self) -> PathBuf {
        match self {
            Self::Dev => "debug".into(),
            Self::Release => "release".into(),
            Self::Static => Path::new(&static_target()).join("release"),
        }
    }
}

/// The workspace that this task runs in.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Takes what `cargo run` tells its child, so that a moved or copied workspace is found as well.
    pub(crate) fn find() -> Result<Self> {
        let member = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&member).parent().context("xtask's folder has no parent: expected the workspace")?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => std::path::absolute(&folder)
                .with_context(|| format!("CARGO_TARGET_DIR is {}, expected a path", folder.display()))?,
            None => root.join("target"),
        };
        Ok(Self { root: root.to_path_buf(), target, cargo })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `cargo SUBCOMMAND` with the toolchain that built this task.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = Command::new(&self.cargo);
        cargo.arg(subcommand).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        cargo
    }

    /// The program `name` of the toolchain that built this task: rustup's own stand-ins are always there, used or not.
    pub(crate) fn beside_cargo(&self, name: &str) -> Option<PathBuf> {
        match Path::new(&self.cargo).parent() {
            Some(folder) if folder.is_absolute() => Some(folder.join(name)).filter(|path| path.is_file()),
            // Started without cargo, which tells where it is.
            _ => shell::which(name),
        }
    }

    /// The target directory of the kernel programs: their compiler differs, and would evict the host's artifacts.
    pub(crate) fn kernel_target(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// The folder of the kernel objects, where `flowml-user/build.rs` looks for `flowml.o`.
    pub(crate) fn kernel_objects(&self) -> PathBuf {
        self.target.join("kernel")
    }

    /// The Python environment of the programs that the tests compare with.
    pub(crate) fn peers(&self) -> PathBuf {
        self.target.join("peers")
    }

    /// The servers that the corpus is made with, as their packages hold them.
    pub(crate) fn servers(&self) -> PathBuf {
        self.target.join("servers")
    }

    /// Where the corpus goes unless told otherwise.
    pub(crate) fn corpus(&self) -> PathBuf {
        self.target.join("corpus")
    }

    /// Where the measurements of a soak go unless told otherwise.
    pub(crate) fn soak(&self) -> PathBuf {
        self.target.join("soak")
    }

    /// What figures are computed from, beside the corpus.
    pub(crate) fn figures(&self) -> PathBuf {
        self.target.join("figures")
    }

    /// What is given to others.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// A Debian system as it is when nothing was installed yet, for the tests of the package.
    pub(crate) fn debian(&self) -> PathBuf {
        self.target.join("debian")
    }

    /// Kernels of Debian, each as its package holds it, and what they boot.
    pub(crate) fn kernels(&self) -> PathBuf {
        self.target.join("kernels")
    }

    /// The files of the package that are no program.
    pub(crate) fn packaging(&self) -> PathBuf {
        self.root.join("packaging")
    }

    /// What the fuzzer builds and finds: its artifacts have instrumentation that no others have.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// A binary that `cargo build` left.
    pub(crate) fn binary(&self, profile: Profile, name: &str) -> PathBuf {
        self.target.join(profile.folder()).join(name)
    }

    /// Names the agent and its kernel object to tests, the demo and the benchmarks; other objects lie beside that one.
    pub(crate) fn announce(&self, profile: Profile, command: &mut Command) {
        let agent = self.binary(profile, "flowml");
        command.env("FLOWML_BIN", agent).env("FLOWML_OBJECT", self.kernel_objects().join("flowml.o"));
    }
}
