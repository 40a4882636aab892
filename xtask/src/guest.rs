//! `cargo xtask test --kernel`: runs the tests that depend on the kernel under another kernel, in a virtual machine.

mod archive;
mod contents;
mod modules;
mod package;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::libtest::{Tally, accounted, watch};
use crate::setup::{self, Need};
use crate::workspace::{Profile, Workspace};
use crate::{build, shell};
use contents::{Contents, ENDED};
use package::Kernel;

/// The tests of behaviour in which kernels may differ. Other tests need programs and data that the machine does not
/// have.
const TARGETS: &[&str] = &["agreement", "attach", "conservation", "interfaces", "lifecycle", "pin", "verifier"];

/// Memory of the machine in MiB: twice the size of what it unpacks at the start, the flow tables, and the kernel.
const MEMORY_MIB: u32 = 4096;

/// Seconds after which the machine is stopped. Without KVM it is ten to thirty times slower.
const LIMIT: u32 = 2 * 3600;

/// Builds once, then runs the tests under each of these kernels.
pub(crate) fn run(workspace: &Workspace, kernels: &[String], arguments: &[String]) -> Result<Tally> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        bail!("the virtual machine boots Debian's kernels for amd64: expected a host with Linux on x86-64");
    }
    setup::ensure(workspace, &[Need::Kernel, Need::Traffic, Need::Package, Need::Guest])?;
    build::agent(workspace, Profile::Dev)?;
    let tests = executables(workspace)?;
    let mut total = Tally::default();
    for wanted in kernels {
        let kernel = Kernel::fetch(workspace, wanted)?;
        let contents = Contents { workspace, kernel: &kernel, tests: &tests, arguments };
        let initramfs = contents.pack()?;
        total += boot(&kernel, &initramfs, tests.len())?;
    }
    Ok(total)
}

/// Builds the tests. Returns their executables in the order of [`TARGETS`].
fn executables(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut cargo = workspace.cargo("test");
    cargo.args(["--no-run", "--message-format=json-render-diagnostics"]);
    cargo.args(TARGETS.iter().flat_map(|target| ["--test", target]));
    eprintln!("$ {}", shell::words(&cargo));
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build: {}", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let find = |target: &&str| executable(&messages, target).with_context(|| format!("cargo built no test {target}"));
    TARGETS.iter().map(find).collect()
}

/// The executable of a test in cargo's messages, each of which is a line of JSON (`compiler-artifact` of "External
/// tools" in Cargo's book).
fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    let name = format!(r#""name":"{target}""#);
    let artifact = |line: &&str| line.contains(r#""kind":["test"]"#) && line.contains(&name);
    let (_, path) = messages.lines().find(artifact)?.split_once(r#""executable":""#)?;
    path.split('"').next().map(PathBuf::from)
}

/// Boots the kernel, and sums up the output of its tests. The tests write to the second serial port, the kernel to the
/// first.
fn boot(kernel: &Kernel, initramfs: &Path, tests: usize) -> Result<Tally> {
    let console = initramfs.with_extension("console");
    let cpus = thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let mut machine = Command::new("timeout");
    // In the foreground, so that an interrupt reaches it.
    machine.args(["--foreground", "--kill-after=10", &LIMIT.to_string(), "qemu-system-x86_64"]);
    machine.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"]);
    machine.args(["-accel", accelerator(), "-cpu", "max", "-smp", &cpus.to_string(), "-m", &MEMORY_MIB.to_string()]);
    machine.arg("-kernel").arg(kernel.image()).arg("-initrd").arg(initramfs);
    // Without the timer check: on a busy host the emulated timer may be late, and the check would find it faulty.
    machine.args(["-append", "console=ttyS0 panic=-1 no_timer_check"]);
    machine.args(["-serial", &format!("file:{}", console.display()), "-serial", "stdio"]);
    eprintln!("Linux {}, of {}:", kernel.release, kernel.package);
    eprintln!("$ {}", shell::words(&machine));
    let mut fine = 0;
    let (tally, succeeded) = watch(&mut machine, |line| fine += usize::from(ended_well(line)))?;
    if fine < tests {
        let log = fs::read_to_string(&console).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        eprintln!("{fine} of {tests} executables ended with 0; the kernel's last lines ({}):", console.display());
        last.iter().rev().for_each(|line| eprintln!("  {line}"));
    }
    Ok(accounted(tally, succeeded && fine == tests))
}

/// Whether the line states that an executable has ended with 0. Before the text there may be half a line of an
/// executable that crashed.
fn ended_well(line: &str) -> bool {
    line.split_once(ENDED).is_some_and(|(_, ended)| ended.trim_end().ends_with(" 0"))
}

/// The accelerator. If the processor has no virtualization extension, KVM may exist nevertheless, and not boot.
fn accelerator() -> &'static str {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    if virtualizes(&flags) && opened.is_ok() { "kvm" } else { "tcg" }
}

/// Whether /proc/cpuinfo lists Intel's or AMD's virtualization extension.
fn virtualizes(cpuinfo: &str) -> bool {
    cpuinfo.split_whitespace().any(|word| word == "vmx" || word == "svm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executables_of_tests_are_found() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"pin"},"executable":"/t/debug/pin"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"pins"},"executable":"/t/deps/pins-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"pin"},"executable":"/t/deps/pin-2"}"#,
        );
        assert_eq!(executable(messages, "pin"), Some(PathBuf::from("/t/deps/pin-2")));
        assert_eq!(executable(messages, "verifier"), None);
    }

    #[test]
    fn an_executable_has_succeeded_if_its_line_has_exit_code_0() {
        assert!(ended_well("flowml-guest: ended pin 0\r"));
        assert!(ended_well("test half ... flowml-guest: ended pin 0"));
        assert!(!ended_well("flowml-guest: ended pin 101") && !ended_well("test result: ok. 0"));
    }

    #[test]
    fn virtualization_extensions_are_recognised() {
        assert!(virtualizes("flags\t\t: fpu vmx ssse3\n") && virtualizes("flags\t\t: fpu svm\n"));
        assert!(!virtualizes("flags\t\t: fpu vme hypervisor\n"));
    }
}
