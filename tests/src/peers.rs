//! Other flow meters, readers and engines from Python's package index, in environments that `cargo xtask setup` makes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::agent;
use crate::lab::or_skip;

/// The environment, or `None` as for [`require_lab`](crate::lab::require_lab).
pub fn require_peers() -> Option<Peers> {
    or_skip(Peers::find("peers", "peers"))
}

/// The environment of the engines that store the rows of a fleet, with the scripts of `tests/fleet`. `None` as above.
pub fn require_engines() -> Option<Peers> {
    or_skip(Peers::engines())
}

/// A Python environment, and the scripts that run in it.
#[derive(Debug)]
pub struct Peers {
    python: PathBuf,
    scripts: PathBuf,
}

impl Peers {
    fn find(environment: &str, scripts: &str) -> Result<Self> {
        let python = agent::target().join(environment).join("bin/python");
        ensure!(python.is_file(), "there are no {environment} at {}: run `cargo xtask setup`", python.display());
        Ok(Self { python, scripts: Path::new(env!("CARGO_MANIFEST_DIR")).join(scripts) })
    }

    /// The environment of the engines, for programs that need it.
    pub fn engines() -> Result<Self> {
        Self::find("engines", "fleet")
    }

    /// The command line of a script.
    pub fn command_line(&self, script: &str) -> [PathBuf; 2] {
        [self.python.clone(), self.scripts.join(script)]
    }

    /// Runs a script, and returns its standard output.
    pub fn run(&self, script: &str, arguments: &[&Path], input: &str) -> Result<String> {
        let [python, path] = self.command_line(script);
        let mut child = Command::new(python)
            .arg(&path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", path.display()))?;
        let mut stdin = child.stdin.take().context("its standard input")?;
        // The script reads all of its input before it writes output, so its output pipe cannot block it.
        stdin.write_all(input.as_bytes()).context("telling the script what to read")?;
        drop(stdin);
        let output = child.wait_with_output().with_context(|| format!("waiting for {script}"))?;
        ensure!(output.status.success(), "{script}: {}", output.status);
        String::from_utf8(output.stdout).with_context(|| format!("the output of {script} is not UTF-8"))
    }
}

/// The standard output of `flowml read` with these arguments, whatever its exit code: captures may be truncated.
pub fn read(arguments: &[&str]) -> Result<String> {
    let program = agent::binary()?;
    let output = Command::new(&program)
        .arg("read")
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    String::from_utf8(output.stdout).context("rows are text")
}
