//! `cargo xtask test`: builds and checks everything, runs every test, and ends with one line that sums them up.

use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Need};
use crate::workspace::{Profile, Workspace};
use crate::{build, lint, shell};

/// Set up, build, lint, and run every test: unit, property, integration and documentation tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also the tests that take minutes, or in which timing decides: on a machine that does nothing else.
    #[arg(long)]
    long: bool,

    /// What the tests are given, after `--`: a part of their names, or a flag of libtest.
    #[arg(last = true)]
    filter: Vec<String>,
}

/// The name of the group of examples in documentation.
const DOCUMENTATION: &str = "documentation tests";

/// The tests by the targets that hold them: one selection of packages, so that nothing is compiled for each anew.
const GROUPS: &[Group] = &[
    Group { name: "unit tests", targets: &["--lib", "--bins", "--examples"], arguments: &[] },
    // They share the machine's CPUs, its clock and its count of kernel programs.
    Group { name: "integration tests", targets: &["--test", "*"], arguments: &["--test-threads=1"] },
    Group { name: DOCUMENTATION, targets: &["--doc"], arguments: &[] },
];

struct Group {
    name: &'static str,
    targets: &'static [&'static str],
    arguments: &'static [&'static str],
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

pub(crate) fn task(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let begun = Instant::now();
    setup::require_root("cargo xtask test")?;
    setup::ensure(
        workspace,
        &[Need::Kernel, Need::Lint, Need::Traffic, Need::Peers, Need::Collectors, Need::Package, Need::Installed],
    )?;
    build::agent(workspace, Profile::Dev)?;
    lint::task(workspace)?;
    let mut total = Tally::default();
    for group in GROUPS {
        eprintln!("{}:", group.name);
        total += run(workspace, group, arguments)?;
    }
    eprintln!("{} s, builds included; {} tests are marked `#[ignore]`", begun.elapsed().as_secs(), total.ignored);
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed > 0 {
        bail!("{} tests failed", total.failed);
    }
    if total.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Runs one group, showing what its tests write.
fn run(workspace: &Workspace, group: &Group, Arguments { long, filter }: &Arguments) -> Result<Tally> {
    let mut cargo = workspace.cargo("test");
    cargo.arg("--no-fail-fast").args(group.targets).arg("--").args(group.arguments).args(filter);
    // Examples in documentation that are marked so are no tests.
    if *long && group.name != DOCUMENTATION {
        cargo.arg("--include-ignored");
    }
    workspace.announce(Profile::Dev, &mut cargo);
    // Where this is set, a test that cannot run fails instead of passing by.
    cargo.env("FLOWML_REQUIRE_LAB", "1");
    eprintln!("$ {}", shell::words(&cargo));
    let (tally, succeeded) = watch(&mut cargo)?;
    Ok(accounted(tally, succeeded))
}

/// Passes the command's output on, and sums up the results in it.
fn watch(command: &mut Command) -> Result<(Tally, bool)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::words(command)))?;
    let mut tally = Tally::default();
    let output = child.stdout.take().context("the tests' output is not connected")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally += result(&line).unwrap_or_default();
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{}`", shell::words(command)))?;
    Ok((tally, status.success()))
}

/// A failure that no result line tells of (a test binary that does not build, or dies) counts as one failed test.
fn accounted(tally: Tally, succeeded: bool) -> Tally {
    if succeeded || tally.failed > 0 { tally } else { Tally { failed: 1, ..tally } }
}

/// Reads libtest's line `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
fn result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |name: &str| {
        let mut pairs = counts.split(';').filter_map(|part| part.trim().split_once(' '));
        pairs.find(|(_, word)| *word == name)?.0.parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Tally, accounted, result, watch};

    #[test]
    fn result_lines_of_libtest_are_read() {
        let line = "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s";
        assert_eq!(result(line), Some(Tally { passed: 5, failed: 0, ignored: 1 }));
        let line = "test result: FAILED. 0 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.13s";
        assert_eq!(result(line), Some(Tally { passed: 0, failed: 3, ignored: 0 }));
        assert_eq!(result("test tests::a ... ok"), None);
    }

    #[test]
    fn results_of_all_runners_are_summed() {
        let line = "echo 'test result: ok. 2 passed; 1 failed; 0 ignored; 0 measured'";
        let outcome = watch(Command::new("sh").args(["-c", &format!("{line}; {line}; exit 101")]));
        assert_eq!(outcome.expect("sh runs"), (Tally { passed: 4, failed: 2, ignored: 0 }, false));
    }

    #[test]
    fn a_runner_that_dies_is_a_failure() {
        let tally = Tally { passed: 2, ..Tally::default() };
        assert_eq!(accounted(tally, false), Tally { passed: 2, failed: 1, ignored: 0 });
        assert_eq!(accounted(tally, true), tally);
    }
}
