//! Runs programs: prints the command, and names it in errors. Standard output is reserved for the task's own result.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Error, Result, bail};

/// The command as a user would type it.
pub(crate) fn words(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| {
        // This variable of cargo does not help a reader.
        let shown = name != "CARGO_TARGET_DIR" && name != "PATH";
        value.filter(|_| shown).map(|value| format!("{}={}", name.to_string_lossy(), quoted(value)))
    });
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let mut words: Vec<String> = set.collect();
    words.push(quoted(name));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

/// A word in the quotation of a shell.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Runs the command to its end. Its output goes to standard error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", words(command));
    let status = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", words(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", words(command));
    }
    Ok(())
}

/// The standard output of the command, or `None` if it cannot be started or fails.
pub(crate) fn read(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Replaces this process by the command, so that signals reach it and its exit code is returned. Returns only if it
/// cannot be started.
pub(crate) fn become_command(command: &mut Command) -> Error {
    let error = command.exec();
    Error::new(error).context(format!("cannot start `{}`", words(command)))
}

/// Finds a program as a shell would, and also in the folders of system programs and of cargo, which may be missing in
/// PATH.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = env::split_paths(&path).chain(cargo_bin()).chain(system);
    folders.find_map(|folder| {
        let program = folder.join(name);
        let metadata = program.metadata().ok()?;
        (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(program)
    })
}

/// The folder in which `cargo install` puts programs.
fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    home.map(|home| home.join("bin"))
}

/// A command that only root may run. `first` is its program, or the first variable of its environment.
pub(crate) fn as_root(first: &str) -> Command {
    let mut command = Command::new(if is_root() { "env" } else { "sudo" });
    if !is_root() {
        command.args(["-n", "env"]);
    }
    command.arg(first);
    command
}

pub(crate) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{run, which, words};

    #[test]
    fn the_words_of_a_command_can_be_typed() {
        let mut command = Command::new("/usr/bin/env");
        command.args(["a", "it's", "x=1", ""]).env("NAME", "two words");
        assert_eq!(words(&command), r"NAME='two words' env a 'it'\''s' x=1 ''");
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).expect_err("it exits with 3");
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed: exit status: 3");
    }

    #[test]
    fn programs_are_found_by_their_name() {
        assert!(which("sh").is_some());
        assert!(which("no-such-program-anywhere").is_none());
    }
}
