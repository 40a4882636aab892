//! Packs the machine's file system.
//!
//! It contains the tests and the agent at their own paths, the programs that they run, libraries, modules, and the
//! first process.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::modules;
use super::package::Kernel;
use crate::shell;
use crate::workspace::{Profile, Workspace};

/// The start of the line that the machine writes when an executable has ended. The executable's name and exit code
/// follow.
pub(super) const ENDED: &str = "flowml-guest: ended ";

/// Programs of the host that the tests, the laboratory and the script below run.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "head", "sleep", "uname", "mkdir", "stty", "mount", "umount", "insmod", "ip", "tc", "ethtool",
    "setpriv", "unshare", "gunzip", "gzip",
];

/// The folders for programs and libraries that are links since Debian merged them into /usr.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// The file systems that every system mounts, with their types.
const MOUNTS: &[(&str, &str)] =
    &[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")];

/// The tests write to the second serial port, because the kernel writes to the first.
const OUTPUT: &str = "/dev/ttyS1";

/// The parts of the archive.
pub(super) struct Contents<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) kernel: &'a Kernel,
    /// The executables of the tests, in order.
    pub(super) tests: &'a [PathBuf],
    /// The arguments of each executable.
    pub(super) arguments: &'a [String],
}

impl Contents<'_> {
    /// Writes the archive to a file beside the folder of this kernel. Returns its path.
    pub(super) fn pack(&self) -> Result<PathBuf> {
        let path = self.workspace.kernels().join(format!("{}.initramfs", self.kernel.package));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        self.fill(&mut archive)
            .and_then(|()| Ok(archive.end()?))
            .with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    fn fill(&self, archive: &mut Archive<BufWriter<File>>) -> Result<()> {
        for folder in MERGED {
            archive.link(&Path::new("/").join(folder), &format!("usr/{folder}"))?;
            archive.folder(&Path::new("/usr").join(folder))?;
        }
        archive.folder_for(Path::new("/tmp"), 0o1777)?;
        for folder in ["/dev", "/proc", "/run", "/sys", "/etc"] {
            archive.folder(Path::new(folder))?;
        }
        archive.link(Path::new("/var/run"), "../run")?;
        for name in PROGRAMS {
            let program = shell::which(name).with_context(|| format!("{name} is not there: install it"))?;
            self.program(archive, &program, &program)?;
        }
        for program in self.tests.iter().chain([&self.agent()]) {
            let stripped = self.stripped(program)?;
            self.program(archive, program, &stripped)?;
        }
        let objects = self.workspace.kernel_objects();
        for entry in objects.read_dir().with_context(|| format!("cannot read {}", objects.display()))? {
            let object = entry?.path();
            archive.file(&object, &read(&object)?)?;
        }
        let configuration = Path::new("/boot").join(format!("config-{}", self.kernel.release));
        archive.file(&configuration, &read(&self.kernel.configuration())?)?;
        archive.folder(&self.working())?;
        let modules = self.modules(archive)?;
        archive.file(Path::new("/init"), self.script(&modules).as_bytes())?;
        Ok(())
    }

    fn agent(&self) -> PathBuf {
        self.workspace.binary(Profile::Dev, "flowml")
    }

    /// The folder in which cargo runs integration tests.
    fn working(&self) -> PathBuf {
        self.workspace.root().join("tests")
    }

    /// Adds a program at its path, read from a file, with its shared libraries.
    fn program(&self, archive: &mut Archive<BufWriter<File>>, path: &Path, from: &Path) -> Result<()> {
        // ldd fails for a file that is no program. Such a file has no libraries.
        let libraries = shell::read(Command::new("ldd").arg(from)).unwrap_or_default();
        for file in linked(&libraries).chain([path]) {
            let place = place(file)?;
            if !archive.has(&place) {
                archive.file(&place, &read(if file == path { from } else { file })?)?;
            }
        }
        Ok(())
    }

    /// A copy without debug information, which is most of the file.
    fn stripped(&self, program: &Path) -> Result<PathBuf> {
        let folder = self.workspace.kernels().join("stripped");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let stripped = folder.join(program.file_name().unwrap_or_default());
        shell::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(program))?;
        Ok(stripped)
    }

    /// Adds the modules at their paths. Returns these paths in the order of loading.
    fn modules(&self, archive: &mut Archive<BufWriter<File>>) -> Result<Vec<PathBuf>> {
        shell::run(Command::new("depmod").arg("--basedir").arg(self.kernel.base()).arg(&self.kernel.release))?;
        let folder = self.kernel.modules();
        let text =
            |name: &str| Ok::<_, anyhow::Error>(String::from_utf8_lossy(&read(&folder.join(name))?).into_owned());
        let (dependencies, builtin) = (text("modules.dep")?, text("modules.builtin")?);
        let mut places = Vec::new();
        for file in modules::in_order(modules::WANTED, &dependencies, &builtin)? {
            let place = Path::new("/usr/lib/modules").join(&self.kernel.release).join(modules::plain(file));
            let file = folder.join(file);
            let bytes = match modules::decompressor(&file)? {
                None => read(&file)?,
                Some(program) => unpacked(program, &file)?,
            };
            archive.file(&place, &bytes)?;
            places.push(place);
        }
        Ok(places)
    }

    /// The script of the first process.
    fn script(&self, modules: &[PathBuf]) -> String {
        let quoted = |word: &dyn AsRef<OsStr>| shell::quoted(word.as_ref());
        let mut script = "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin HOME=/ FLOWML_REQUIRE_LAB=1\n".to_owned();
        let (agent, object) = (self.agent(), self.workspace.kernel_objects().join("flowml.o"));
        // Writing to a string cannot fail.
        let _ = writeln!(script, "export FLOWML_BIN={} FLOWML_OBJECT={}", quoted(&agent), quoted(&object));
        for (kind, folder) in MOUNTS {
            let _ = writeln!(script, "mount -t {kind} {kind} {folder}");
        }
        let _ = writeln!(script, "stty -F {OUTPUT} -opost\nexec < /dev/null > {OUTPUT} 2>&1\nip link set lo up");
        for module in modules {
            let _ = writeln!(script, "insmod {}", quoted(module));
        }
        let _ = writeln!(script, "cd {}", quoted(&self.working()));
        for test in self.tests {
            let name = test.file_name().unwrap_or_default().to_string_lossy();
            let arguments: String = self.arguments.iter().map(|argument| format!(" {}", quoted(argument))).collect();
            let _ = writeln!(script, "echo 'Running {name}'\n{} --test-threads=1{arguments}", quoted(test));
            let _ = writeln!(script, "echo '{ENDED}{name}' $?");
        }
        // The output leaves the port before the port is closed. Then the machine is switched off (sysrq.rst).
        script + "exec > /dev/null 2>&1\necho o > /proc/sysrq-trigger\nsleep 60\n"
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The path of a file in the archive. Its folder may be a link, and the file itself may be one.
fn place(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().context("a file has a folder")?;
    let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
    Ok(folder.join(file.file_name().context("a file has a name")?))
}

fn unpacked(program: &str, file: &Path) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    let output = command.args(["--decompress", "--stdout"]).arg(file).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    anyhow::ensure!(output.status.success(), "{program} cannot unpack {}", file.display());
    Ok(output.stdout)
}

/// The files in the output of ldd: `name => /path (address)`, and `/path (address)` for the loader.
fn linked(libraries: &str) -> impl Iterator<Item = &Path> {
    libraries.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_in_the_output_of_ldd_are_found() {
        let message = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let files: Vec<_> = linked(message).collect();
        assert_eq!(files, [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
        assert_eq!(linked("\tnot a dynamic executable\n").count(), 0);
    }
}
