//! What the machine's file system holds: the tests and the agent at their own paths, the programs that they run, libraries,
//! modules, and what runs all of it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::package::Kernel;
use super::{ENDED, modules};
use crate::shell;
use crate::workspace::{Profile, Workspace};

/// What tests, laboratory and the script below run. They are the programs of the host.
const PROGRAMS: &[&str] = &[
    "sh", "cat", "head", "sleep", "uname", "mkdir", "stty", "mount", "umount", "insmod", "ip", "tc", "ethtool",
    "setpriv", "unshare", "gunzip", "gzip",
];

/// Where Debian has had its programs and libraries since it has no others.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// The file systems that a system has anyway, by their kinds.
const MOUNTS: &[(&str, &str)] =
    &[("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")];

/// The tests write to the second serial port, as the kernel writes to the first.
const OUTPUT: &str = "/dev/ttyS1";

/// What is to be packed.
pub(super) struct Contents<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) kernel: &'a Kernel,
    /// The executables, in their order.
    pub(super) tests: &'a [PathBuf],
    /// What each is given.
    pub(super) arguments: &'a [String],
}

impl Contents<'_> {
    /// Writes the archive, beside what else is of this kernel.
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

    /// Where cargo runs integration tests.
    fn working(&self) -> PathBuf {
        self.workspace.root().join("tests")
    }

    /// Puts a program to its path, read from a file, with the libraries that it is linked with.
    fn program(&self, archive: &mut Archive<BufWriter<File>>, path: &Path, from: &Path) -> Result<()> {
        // What is no program has no libraries.
        let libraries = shell::read(Command::new("ldd").arg(from)).unwrap_or_default();
        for file in linked(&libraries).chain([path]) {
            let place = place(file)?;
            if !archive.has(&place) {
                archive.file(&place, &read(if file == path { from } else { file })?)?;
            }
        }
        Ok(())
    }

    /// A copy without lines of sources, which are most of it.
    fn stripped(&self, program: &Path) -> Result<PathBuf> {
        let folder = self.workspace.kernels().join("stripped");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let stripped = folder.join(program.file_name().unwrap_or_default());
        shell::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(program))?;
        Ok(stripped)
    }

    /// Puts the modules to their places. Returns these, in the order in which they are loaded.
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

    /// The first process.
    fn script(&self, modules: &[PathBuf]) -> String {
        let quoted = |word: &dyn AsRef<OsStr>| shell::quoted(word.as_ref());
        let mut script = "#!/bin/sh\nexport PATH=/usr/sbin:/usr/bin HOME=/ FLOWML_REQUIRE_LAB=1\n".to_owned();
        let (agent, object) = (self.agent(), self.workspace.kernel_objects().join("flowml.o"));
        // Writing to a text does not fail.
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
        // What was written leaves the port before that is closed. Then the machine is switched off (sysrq.rst).
        script + "exec > /dev/null 2>&1\necho o > /proc/sysrq-trigger\nsleep 60\n"
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Where a file goes: its folder may be a link, and its name may be that of a link.
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

/// The files in what ldd says: `name => /path (address)`, and the loader as `/path (address)`.
fn linked(libraries: &str) -> impl Iterator<Item = &Path> {
    libraries.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let files: Vec<_> = linked(said).collect();
        assert_eq!(files, [Path::new("/lib/x86_64-linux-gnu/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]);
        assert_eq!(linked("\tnot a dynamic executable\n").count(), 0);
    }
}
