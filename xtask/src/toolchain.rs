//! Finds what compiles the kernel programs: a compiler with the standard library's source, and bpf-linker.
//!
//! Two kinds of compiler work: the distribution's, which has a fixed version and is preferred, or a rustup nightly.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell;
use crate::workspace::Workspace;

/// The kernel programs' target. BPF has the byte order of its host.
pub(crate) const TARGET: &str = if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// The standard library's source below a compiler's sysroot, where `-Z build-std` looks for it.
const LIBRARY: &str = "lib/rustlib/src/rust/library/Cargo.lock";

/// Debug information is converted to BTF. Packet headers are only aligned to two bytes. Unless unaligned loads are
/// allowed, the back end reads them byte by byte. Every relevant machine with a BPF JIT reads unaligned words.
const RUSTFLAGS: &str = "-C debuginfo=2 -C target-cpu=v3 -C link-arg=--btf \
                         -C link-arg=--cpu-features=+allows-misaligned-mem-access";

/// The oldest compiler that builds the kernel programs: `rust-version` of the workspace.
pub(crate) const OLDEST: (u32, u32) = (1, 88);

/// A compiler of kernel programs.
pub(crate) enum Compiler {
    /// The distribution's stable compiler.
    Distribution { rustc: PathBuf },
    /// The name of a rustup nightly with the component rust-src.
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
        Some(Self::Rustup { toolchain: nightly(&[LIBRARY])? })
    }

    /// The output of `rustc --version --verbose`.
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

    /// The major version of the compiler's LLVM. bpf-linker must read its bitcode.
    pub(crate) fn llvm(&self) -> Option<u32> {
        let description = self.description()?;
        field(&description, "LLVM version")?.split('.').next()?.parse().ok()
    }

    /// `cargo SUBCOMMAND` with this compiler, with unstable options, and with bpf-linker as the linker.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut cargo = match self {
            Self::Distribution { rustc } => {
                let mut cargo = workspace.cargo(subcommand);
                // The standard library's source has this version. Without RUSTC_BOOTSTRAP a stable compiler refuses
                // `-Z`.
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
        // BTF is made from the debug information. v3 has 32-bit jumps and arithmetic, and needs Linux 5.1 or newer.
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

/// The name of a rustup nightly that has all of these files below its sysroot.
fn nightly(files: &[&str]) -> Option<String> {
    let home = env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".rustup")))?;
    let installed = home.join("toolchains").read_dir().ok()?.flatten();
    let complete = installed.filter(|toolchain| files.iter().all(|file| toolchain.path().join(file).is_file()));
    let names = complete.filter_map(|toolchain| toolchain.file_name().into_string().ok());
    // The undated nightly is the one that `rustup update` updates. It also sorts last.
    names.filter(|name| name.starts_with("nightly")).max()
}

/// The name of a rustup nightly that has Miri and the standard library's source.
pub(crate) fn miri() -> Option<String> {
    nightly(&["bin/cargo-miri", LIBRARY])
}

/// The value in a line `name: value`.
fn field<'a>(description: &'a str, name: &str) -> Option<&'a str> {
    description.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The path of bpf-linker, if it is installed.
pub(crate) fn linker() -> Option<PathBuf> {
    shell::which("bpf-linker")
}

/// The version that bpf-linker prints, or `None` if it cannot run, for example because its LLVM is missing.
pub(crate) fn linker_version() -> Option<String> {
    let version = shell::read(Command::new(linker()?).arg("--version"))?;
    version.split_whitespace().last().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_only_by_its_whole_name() {
        let text = "rustc 1.96.0\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(field(text, "release"), Some("1.96.0"));
        assert_eq!(field(text, "LLVM version"), Some("22.1.8"));
        assert_eq!(field(text, "LLVM"), None);
    }
}
