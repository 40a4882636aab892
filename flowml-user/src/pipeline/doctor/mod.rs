//! `flowml doctor`: whether `flowml run` would work here, what stands in its way or lessens it, and what to type.
//!
//! Nothing is attached and nothing is changed: the kernel is asked, and the programs are loaded and dropped again.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::capture::CaptureError;
use crate::capture::interface::{Interface, Interfaces};
use crate::capture::selection::{Selection, Selector};
use crate::cli::Doctor;
use crate::process::{plain, private};
use crate::sink::counted;

mod host;
mod interface;
mod pinned;
mod text;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// `run` works, and something is less than it could be.
    Warning,
    /// `run` does not work.
    Problem,
}

/// The subject of what is about no interface.
const HOST: &str = "host";

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    /// The host, or an interface by its name.
    subject: String,
    /// What was looked at; docs/OPERATIONS.md has all names, from the table in the tests below.
    check: &'static str,
    severity: Severity,
    /// In words.
    says: String,
    /// What to type to mend it.
    mend: Option<String>,
    /// For programs.
    value: Value,
}

impl Finding {
    fn new(check: &'static str, severity: Severity, says: impl Into<String>) -> Self {
        Self { subject: HOST.to_owned(), check, severity, says: says.into(), mend: None, value: Value::Null }
    }

    fn mend(self, command: impl Into<String>) -> Self {
        Self { mend: Some(command.into()), ..self }
    }

    fn value(self, value: impl Into<Value>) -> Self {
        Self { value: value.into(), ..self }
    }

    fn of(self, subject: &str) -> Self {
        Self { subject: subject.to_owned(), ..self }
    }
}

/// All that was found.
#[derive(Serialize)]
struct Examination {
    /// Raised when a member changes its meaning or goes.
    version: u32,
    /// Whether `run` would work.
    fit: bool,
    findings: Vec<Finding>,
}

/// Looks at the host and the interfaces, and tells.
///
/// # Errors
/// Where `run` would not work, or where nobody can be told.
pub async fn run(arguments: &Doctor) -> Result<()> {
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
    let examination = Examination { version: 1, fit: problems == 0, findings };
    tell(&examination, arguments.output.as_deref())?;
    if problems > 0 {
        bail!("'flowml run' would not work: {}", counted(problems as u64, "problem"));
    }
    Ok(())
}

/// As `run` chooses, but one after the other: what is wrong with one is told of that one.
async fn choose(selectors: &[Selector]) -> Result<Vec<Interface>, CaptureError> {
    let interfaces = Interfaces::read().await?;
    match selectors {
        [] => Ok(vec![interfaces.of_default_route().await?]),
        selectors => Selection::new(selectors.to_vec(), Vec::new()).among(&interfaces),
    }
}

fn tell(examination: &Examination, output: Option<&Path>) -> Result<()> {
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
    use crate::sink::golden;

    /// What is looked at, and what its `value` says in JSON.
    const CHECKS: &[(&str, &str)] = &[
        ("agent", "whether this build carries the kernel programs"),
        ("capabilities", "the capabilities that are missing"),
        ("cpu", "possible CPUs, each of which has its own flow table"),
        ("driver", "name of the driver, or kind of a device without one"),
        ("gro-hw", "whether the card joins packets (GRO in hardware)"),
        ("interface", "name of the interface"),
        ("jit", "net.core.bpf_jit_enable"),
        ("kernel", "release of the kernel"),
        ("landlock", "version of Landlock's interface, `null` where the kernel has none"),
        ("link", "`up`, `no-carrier` or `down`"),
        ("lro", "whether the card joins packets (LRO)"),
        ("memlock", "limit of locked memory in bytes, `null` for none"),
        ("memory", "bytes of the flow table as `run` would make it"),
        ("mode", "how `run` would meter: `native` or `tc`, or as is pinned"),
        ("mtu", "bytes"),
        ("pin", "with `--pin`: whether there is a flow table to go on with, `null` where the folder cannot be used"),
        ("preemption", "whether the kernel is PREEMPT_RT"),
        ("programs", "whether XDP programs take frames in several buffers (Linux 5.18)"),
        ("queues", "receive queues in use"),
        ("seccomp", "whether the kernel filters system calls"),
        ("tcx", "names or ids of other programs at tc ingress (TCX, Linux 6.6)"),
        ("vlan", "whether the card takes VLAN tags off"),
        (
            "xdp",
            "what the driver has: a list of `native`, `frags`, `offload`; `null` where the kernel does not say (before 6.3)",
        ),
        ("xdp-program", "id of the XDP program that is there, else `null`"),
    ];

    #[test]
    fn the_document_has_every_check() {
        let rows: String = CHECKS.iter().map(|(name, value)| format!("| `{name}` | {value} |\n")).collect();
        let table = format!("| check | value |\n| --- | --- |\n{rows}");
        let document = golden::replaced(&golden::read("../docs/OPERATIONS.md"), "checks", &table);
        golden::assert_is("../docs/OPERATIONS.md", &document);
    }

    /// That each finding is one of the table; given by the tests of those who find.
    pub(super) fn assert_known(findings: &[Finding]) {
        for finding in findings {
            assert!(CHECKS.iter().any(|(name, _)| *name == finding.check), "{} is in no table", finding.check);
            assert!(finding.severity != Severity::Problem || !finding.says.is_empty());
        }
    }
}
