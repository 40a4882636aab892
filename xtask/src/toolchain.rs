//! What compiles the kernel programs: a compiler that has the standard library's source, and bpf-linker.
//!
//! Two compilers will do: the distribution's (fixed versions, so it comes first), or a rustup nightly.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;
use crate::workspace::Workspace;

/// The kernel programs' target; BPF has the byte order of its host.
pub(crate) const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// The standard library's source within a compiler's sysroot, as `-Z build-std` looks for it.
const LIBRARY: &str = "lib/rustlib/src/rust/library/Cargo.lock";

/// Debug info becomes BTF. Headers lie at two bytes behind a word: where unaligned loads are not allowed to the back end,
/// it reads them byte by byte (every machine with a BPF JIT worth the name reads unaligned words).
const RUSTFLAGS: &str = "-C debuginfo=2 -C target-cpu=v3 -C link-arg=--btf \
                         -C link-arg=--cpu-features=+allows-misaligned-mem-access";

/// The oldest compiler that builds the kernel programs: `rust-version` of the workspace.
pub(crate) const OLDEST: (u32, u32) = (1, 88);

/// A compiler of kernel programs.
pub(crate) enum Compiler {
    /// The distribution's, which is a stable one.
    Distribution { rustc: PathBuf },
    /// A nightly of rustup with the component rust-src, by its name.
    Rustup { toolchain: String },
}

impl Compiler {
    pub(crate) fn find() -> Option<Self> {
        Self::distribution().or_else(Self::rustup)
    }

    fn distribution() -> Option<Self> {
        let sysroot = Path::new("/usr");
        let rustc = sysroot.join("bin/rustc");
        if !sysroot.join(LIBRARY).is_file() {
            return None;
        }
        let compiler = Self::Distribution { rustc };
        (compiler.version()? >= OLDEST).then_some(compiler)
    }

    fn rustup() -> Option<Self> {
        let home = env::var_os("RUSTUP_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::home_dir().map(|home| home.join(".rustup")))?;
        let installed = home.join("toolchains").read_dir().ok()?.flatten();
        let complete = installed.filter(|toolchain| toolchain.path().join(LIBRARY).is_file());
        let names = complete.filter_map(|toolchain| toolchain.file_name().into_string().ok());
        // The undated nightly is the one that `rustup update` keeps; it also sorts last.
        let toolchain = names.filter(|name| name.starts_with("nightly")).max()?;
        Some(Self::Rustup { toolchain })
    }

    /// What `rustc --version --verbose` says.
    pub(crate) fn description(&self) -> Option<String> {
        let mut rustc = match self {
            Self::Distribution { rustc } => Command::new(rustc),
            Self::Rustup { toolchain } => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", toolchain, "rustc"]);
                rustup
            }
        };
        shell::read(rustc.arg("-vV"))
    }

    fn version(&self) -> Option<(u32, u32)> {
        let description = self.description()?;
        let mut numbers = field(&description, "release")?.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// The major version of the compiler's LLVM; bpf-linker must read what it writes.
    pub(crate) fn llvm(&self) -> Option<u32> {
        let description = self.description()?;
        field(&description, "LLVM version")?.split('.').next()?.parse().ok()
    }

    /// `cargo SUBCOMMAND` with this compiler, with unstable options, linking by bpf-linker.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut cargo = match self {
            Self::Distribution { rustc } => {
                let mut cargo = workspace.cargo(subcommand);
                // The standard library's source is of this version, and `-Z` is refused to a stable compiler otherwise.
                cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            Self::Rustup { toolchain } => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", toolchain, "cargo", subcommand]).current_dir(workspace.root());
                rustup.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
                rustup
            }
        };
        // BTF is made from the debug information; v3 has 32-bit jumps and arithmetic, kernel 5.1 and later.
        cargo.env("RUSTFLAGS", RUSTFLAGS);
        cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("CARGO_TARGET_DIR", workspace.kernel_target());
        cargo.args(["--release", "--target", TARGET, "-Zbuild-std=core"]);
        if let Some(folder) = linker().as_deref().and_then(Path::parent) {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = env::split_paths(&path).chain([folder.to_path_buf()]);
            cargo.env("PATH", env::join_paths(folders).unwrap_or(path));
        }
        cargo
    }
}

/// The value in a line `name: value`.
fn field<'a>(description: &'a str, name: &str) -> Option<&'a str> {
    description.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// bpf-linker, where it is.
pub(crate) fn linker() -> Option<PathBuf> {
    shell::which("bpf-linker")
}

/// The version that bpf-linker tells; none where it cannot run, for want of its LLVM for instance.
pub(crate) fn linker_version() -> Option<String> {
    let version = shell::read(Command::new(linker()?).arg("--version"))?;
    version.split_whitespace().last().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let text = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(field(text, "release"), Some("1.96.0"));
        assert_eq!(field(text, "LLVM version"), Some("22.1.8"));
        assert_eq!(field(text, "LLVM"), None);
    }
}
