//! The agent under test: started in a host, its records read while it runs, ended when its guard is dropped.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::hooks::Hooks;
use crate::lab::{Host, Interface, wait_until};
use crate::process::Process;

/// Longest time for the agent to load and attach its programs on a busy machine.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);

/// Longest time for the agent to drain and flush after a signal.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The agent's file: `$FLOWML_BIN`, otherwise the one that `cargo xtask build` made.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("FLOWML_BIN").map_or_else(default_binary, PathBuf::from);
    ensure!(path.is_file(), "there is no agent at {}: run `cargo xtask build`", path.display());
    Ok(path)
}

/// Runs `flowml` in a folder, with the words of this line as arguments.
pub fn flowml(folder: &Path, line: &str) -> Result<Output> {
    let output = Command::new(binary()?).current_dir(folder).args(line.split_whitespace()).output();
    output.with_context(|| format!("flowml {line}"))
}

/// Checks that `flowml` fails with this exit code and one line that contains these words.
pub fn ensure_refused(folder: &Path, line: &str, code: i32, words: &str) -> Result<()> {
    let output = flowml(folder, line)?;
    let message = String::from_utf8_lossy(&output.stderr);
    let is_refused = output.status.code() == Some(code) && message.contains(words);
    ensure!(is_refused && message.lines().count() == 1, "flowml {line}: {:?} {message}", output.status);
    Ok(())
}

fn default_binary() -> PathBuf {
    target().join("debug/flowml")
}

/// The object of the kernel programs that `cargo xtask build` made.
pub(crate) fn default_object() -> PathBuf {
    target().join("kernel/flowml.o")
}

/// The folder where builds and setup put their files.
pub fn target() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from)
}

/// A running agent. Dropping it ends the process.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    wants_egress: bool,
}

impl Agent {
    /// Starts the agent with these arguments.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        Self::start_program(host, binary()?.into(), arguments)
    }

    /// Starts `flowml run` on an interface with its records on standard output, and waits until it meters.
    pub fn meter(interface: &Interface, arguments: &[&str]) -> Result<Self> {
        let agent =
            Self::start(&interface.host, &[&["run", "-i", &interface.name, "-o", "jsonl=-"], arguments].concat())?;
        agent.wait_attached(interface)?;
        Ok(agent)
    }

    /// Starts a program that executes the agent in its own place.
    pub fn start_program(host: &Host, program: OsString, arguments: &[&str]) -> Result<Self> {
        let wants_egress = arguments.iter().any(|argument| matches!(*argument, "both" | "--direction=both"));
        let command = [program].into_iter().chain(arguments.iter().map(OsString::from));
        Ok(Self { process: host.spawn(command)?, wants_egress })
    }

    /// The agent's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether the agent is still running.
    pub fn is_running(&self) -> Result<bool> {
        self.process.is_running()
    }

    /// Waits until the agent's programs are attached to the interface, on both sides if the agent meters both
    /// directions.
    pub fn wait_attached(&self, interface: &Interface) -> Result<()> {
        let attached = || {
            let hooks = Hooks::of(interface)?;
            ensure!(self.process.is_running()?, "it has ended");
            Ok(hooks.sees_ingress() && (hooks.tc_egress || !self.wants_egress))
        };
        wait_until(ATTACH_LIMIT, attached).with_context(|| {
            format!("waiting until the agent is attached to {}; its messages:\n{}", interface.name, self.last_words())
        })
    }

    /// The text on standard error so far.
    pub fn stderr(&self) -> String {
        self.process.stderr().text()
    }

    /// The text on standard error. It is complete if the agent has ended.
    fn last_words(&self) -> String {
        if self.process.is_running().is_ok_and(|running| !running) {
            self.process.stderr().wait_closed();
        }
        self.stderr()
    }

    /// The records written so far.
    pub fn records(&self) -> Result<Vec<Value>> {
        complete_records(&self.process.stdout().bytes())
    }

    /// The first record for which `wanted` is true, among those already written and those that follow within `limit`.
    pub fn wait_for(&self, limit: Duration, mut wanted: impl FnMut(&Value) -> bool) -> Result<Value> {
        let mut seen = 0;
        let found = self.process.stdout().wait_for(limit, |bytes| {
            let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(seen, |newline| newline + 1);
            let new = complete_records(&bytes[seen..complete]);
            seen = complete;
            match new {
                Err(error) => Some(Err(error)),
                Ok(records) => records.into_iter().find(&mut wanted).map(Ok),
            }
        });
        found.with_context(|| {
            format!("no such record within {limit:?}; the messages of the agent:\n{}", self.stderr())
        })?
    }

    /// Sends a signal, waits for the end, and collects what the agent wrote.
    pub fn stop(self, signal: Signal) -> Result<Report> {
        self.process.signal(signal)?;
        self.finish(STOP_LIMIT)
    }

    /// Waits until the agent ends without a signal, and collects what it wrote.
    pub fn finish(self, limit: Duration) -> Result<Report> {
        let output = self.process.wait(limit)?;
        Ok(Report {
            code: output.status.code(),
            signal: output.status.signal(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            records: records(&output.stdout)?,
        })
    }

    /// Sends a signal to the agent.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// CPU time that the agent has used, in user and kernel mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).context("reading the agent's times")?;
        // proc_pid_stat(5): fields 14 and 15, in ticks. The name in parentheses before them may contain any character.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().skip(11).take(2));
        let ticks: u64 = fields.into_iter().flatten().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }
}

/// A copy of the agent that every user may execute, in a directory that is removed with it.
#[derive(Debug)]
pub struct PublicBinary(TempDir);

impl PublicBinary {
    /// Copies the agent.
    pub fn new() -> Result<Self> {
        let copy = Self(tempfile::tempdir().context("making a directory for a copy of the agent")?);
        fs::set_permissions(copy.0.path(), fs::Permissions::from_mode(0o755))?;
        fs::copy(binary()?, copy.program())?;
        fs::set_permissions(copy.program(), fs::Permissions::from_mode(0o755))?;
        Ok(copy)
    }

    /// The path of the copy.
    pub fn program(&self) -> PathBuf {
        self.0.path().join("flowml")
    }
}

/// The results of an agent from its start to its end.
#[derive(Debug)]
pub struct Report {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The text on standard error.
    pub stderr: String,
    /// The records that the agent wrote.
    pub records: Vec<Value>,
}

impl Report {
    /// The records of one type: `flow`, `host`, `anomaly` or `summary`.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.records.iter().filter(move |record| record["type"] == kind)
    }

    /// The summary: exactly one, and the last record.
    pub fn summary(&self) -> Result<&Value> {
        let last = self.records.last().filter(|record| record["type"] == "summary");
        let last = last
            .with_context(|| format!("the last record is no summary; the messages of the agent:\n{}", self.stderr))?;
        ensure!(self.of_type("summary").count() == 1, "there is more than one summary");
        Ok(last)
    }
}

fn complete_records(bytes: &[u8]) -> Result<Vec<Value>> {
    let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    records(&bytes[..complete])
}

/// Every line must be a JSON object with a type: standard output contains only records.
fn records(bytes: &[u8]) -> Result<Vec<Value>> {
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(record).collect()
}

fn record(line: &[u8]) -> Result<Value> {
    match serde_json::from_slice::<Value>(line) {
        Ok(record) if record["type"].is_string() => Ok(record),
        Ok(_) => bail!("a record without a type: {}", String::from_utf8_lossy(line)),
        Err(error) => bail!("not a JSON record ({error}): {}", String::from_utf8_lossy(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{LinkOptions, require_lab};
    use std::time::Instant;

    /// A program in place of the agent: it writes a flow, then waits. After SIGTERM it writes a summary without a
    /// newline, and exits with code 7.
    const STAND_IN: &str = r#"
        trap 'kill $!; printf "{\"type\":\"summary\",\"flows\":1}"; exit 7' TERM
        echo '{"type":"flow","src_ip":"10.77.1.1"}'
        echo 'metering' >&2
        sleep 1000 & wait
    "#;

    #[test]
    fn records_are_read_while_the_agent_runs_and_after_it_was_stopped() {
        let Some(lab) = require_lab() else { return };
        let host = lab.host("a").expect("a host");
        let agent = Agent::start_program(&host, "sh".into(), &["-c", STAND_IN]).expect("sh");
        let flow = agent.wait_for(Duration::from_secs(10), |record| record["type"] == "flow").expect("a flow");
        assert_eq!(flow["src_ip"], "10.77.1.1");
        assert!(agent.wait_for(Duration::from_millis(20), |record| record["type"] == "host").is_err());
        let report = agent.stop(Signal::TERM).expect("a report");
        assert_eq!((report.code, report.signal, report.stderr.as_str()), (Some(7), None, "metering\n"));
        assert_eq!(report.summary().expect("a summary")["flows"], 1);
        assert_eq!(report.of_type("flow").count(), 1);
    }

    #[test]
    fn an_agent_that_ends_before_it_attached_is_reported_with_its_messages() {
        let Some(lab) = require_lab() else { return };
        let (a, b) = (lab.host("a").expect("a host"), lab.host("b").expect("a host"));
        let [interface, _] = lab.link([&a, &b], &LinkOptions::quiet()).expect("a link");
        let agent = Agent::start_program(&a, "sh".into(), &["-c", "echo no such luck >&2; exit 1"]).expect("sh");
        let begun = Instant::now();
        let error = agent.wait_attached(&interface).expect_err("nothing attaches");
        assert!(format!("{error:#}").contains("no such luck"), "{error:#}");
        assert!(begun.elapsed() < ATTACH_LIMIT);
    }

    #[test]
    fn a_line_of_standard_output_that_is_no_record_is_an_error() {
        assert!(records(b"{\"type\":\"flow\"}\nhello\n").is_err());
        assert!(records(b"{\"flows\":1}\n").is_err());
        assert_eq!(complete_records(b"{\"type\":\"flow\"}\n{\"typ").expect("one record").len(), 1);
    }
}
