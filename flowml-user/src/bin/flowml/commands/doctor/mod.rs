//! `flowml doctor`: checks whether `flowml run` works on this host, and prints the commands that fix problems.
//!
//! It attaches nothing and changes nothing: it queries the kernel, and loads and drops the programs.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flowml_user::capture::CaptureError;
use flowml_user::capture::interface::{Interface, Interfaces};
use flowml_user::capture::selection::{Selection, Selector};
use flowml_user::process::words::counted;
use flowml_user::process::{plain, private};
use serde::Serialize;
use serde_json::Value;

use crate::args::Doctor;

mod host;
mod interface;
mod pinned;
mod text;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// No problem.
    Ok,
    /// Information.
    Note,
    /// `run` works with limitations.
    Warning,
    /// `run` does not work.
    Problem,
}

/// The subject of findings about no interface.
const HOST: &str = "host";

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    /// The host, or the name of an interface.
    subject: String,
    /// The name of the check. docs/OPERATIONS.md lists all names, from the table in the tests below.
    check: &'static str,
    severity: Severity,
    /// A description.
    message: String,
    /// The command that fixes it.
    fix: Option<String>,
    /// The value for programs.
    value: Value,
}

impl Finding {
    fn new(check: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self { subject: HOST.to_owned(), check, severity, message: message.into(), fix: None, value: Value::Null }
    }

    fn fix(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }

    fn value(self, value: impl Into<Value>) -> Self {
        Self { value: value.into(), ..self }
    }

    fn of(self, subject: &str) -> Self {
        Self { subject: subject.to_owned(), ..self }
    }
}

/// All findings.
#[derive(Serialize)]
struct Examination {
    /// Raised when a member changes its meaning or is removed.
    version: u32,
    /// Whether `run` works.
    fit: bool,
    findings: Vec<Finding>,
}

/// Checks the host and the interfaces, and prints the findings.
///
/// # Errors
/// If `run` would not work, or the findings cannot be written.
pub(crate) async fn run(arguments: &Doctor) -> Result<()> {
    let host = host::Facts::read();
    let mut findings = host.findings();
    let pinned = arguments.pin.as_deref().map(pinned::Facts::read);
    findings.extend(pinned.as_ref().map(pinned::Facts::finding));
    match choose(&arguments.interfaces).await {
        Ok(interfaces) => {
            for interface in interfaces {
                let mode = pinned.as_ref().and_then(|pinned| pinned.mode_of(interface.index));
                findings.extend(interface::Facts::read(interface, &host, mode).findings());
            }
        }
        Err(error) => findings.push(Finding::new("interface", Severity::Problem, error.to_string())),
    }
    let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem).count();
    let examination = Examination { version: 2, fit: problems == 0, findings };
    print(&examination, arguments.output.as_deref())?;
    if problems > 0 {
        bail!("'flowml run' would fail: {}", counted(problems as u64, "problem"));
    }
    Ok(())
}

/// Selects interfaces like `run`, but one selector at a time, so that an error is reported for its selector.
async fn choose(selectors: &[Selector]) -> Result<Vec<Interface>, CaptureError> {
    let interfaces = Interfaces::read().await?;
    match selectors {
        [] => Ok(vec![interfaces.of_default_route().await?]),
        selectors => Selection::new(selectors.to_vec(), Vec::new()).among(&interfaces),
    }
}

fn print(examination: &Examination, output: Option<&Path>) -> Result<()> {
    let json = || Ok::<_, serde_json::Error>(serde_json::to_string_pretty(examination)? + "\n");
    let text = match output {
        Some(path) if path.as_os_str() == "-" => json()?,
        output => {
            if let Some(path) = output {
                private::write(path, json()?).with_context(|| format!("cannot write to {}", path.display()))?;
            }
            // no-color.org
            let colours = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            plain::lines(&text::render(&examination.findings, colours)).into_owned()
        }
    };
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    /// All checks, and the meaning of their `value` in JSON.
    const CHECKS: &[(&str, &str)] = &[
        ("agent", "whether this build includes the kernel programs"),
        ("capabilities", "the capabilities that are missing"),
        ("cpu", "possible CPUs, each of which has its own flow table"),
        ("driver", "name of the driver, or kind of a device without one"),
        ("gro-hw", "whether the card merges packets (GRO in hardware)"),
        ("interface", "name of the interface"),
        ("jit", "net.core.bpf_jit_enable"),
        ("kernel", "release of the kernel"),
        ("landlock", "ABI version of Landlock, `null` if the kernel has none"),
        ("link", "`up`, `no-carrier` or `down`"),
        ("lro", "whether the card merges packets (LRO)"),
        ("memlock", "limit of locked memory in bytes, `null` for no limit"),
        ("memory", "bytes of the flow table that `run` would create"),
        ("mode", "mode in which `run` would meter: `native` or `tc`, or the pinned mode"),
        ("mtu", "bytes"),
        (
            "pin",
            "with `--pin`: whether the folder has a flow table to continue with, `null` if the folder cannot be used",
        ),
        ("preemption", "whether the kernel is PREEMPT_RT"),
        ("programs", "whether XDP programs accept multi-buffer frames (Linux 5.18)"),
        ("queues", "receive queues in use"),
        ("seccomp", "whether the kernel filters system calls"),
        ("tcx", "names or ids of other programs at tc ingress (TCX, Linux 6.6)"),
        ("vlan", "whether the card strips VLAN tags"),
        (
            "xdp",
            "XDP support of the driver: list of `native`, `frags`, `offload`; `null` if the kernel does not report it (before 6.3)",
        ),
        ("xdp-program", "id of the attached XDP program, else `null`"),
    ];

    #[test]
    fn the_document_lists_every_check() {
        let rows: String = CHECKS.iter().map(|(name, value)| format!("| `{name}` | {value} |\n")).collect();
        let table = format!("| check | value |\n| --- | --- |\n{rows}");
        let document = golden::replaced(&golden::read("../docs/OPERATIONS.md"), "checks", &table);
        golden::assert_is("../docs/OPERATIONS.md", &document);
    }

    /// Checks that each finding is in the table. The tests of the checks call it.
    pub(super) fn assert_known(findings: &[Finding]) {
        for finding in findings {
            assert!(CHECKS.iter().any(|(name, _)| *name == finding.check), "{} is in no table", finding.check);
            assert!(finding.severity != Severity::Problem || !finding.message.is_empty());
        }
    }
}
