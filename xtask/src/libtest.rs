//! Shows the output of libtest, and sums up the results in it.

use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::shell;

/// The number of tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Prints the command's output, passes each line to `each`, and sums up the results. Returns the sums, and whether the
/// command succeeded.
pub(crate) fn watch(command: &mut Command, mut each: impl FnMut(&str)) -> Result<(Tally, bool)> {
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
        each(&line);
        tally += result(&line).unwrap_or_default();
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{}`", shell::words(command)))?;
    Ok((tally, status.success()))
}

/// Counts one failed test if the command failed without a failure in a result line: a test binary does not build, or
/// crashes.
pub(crate) fn accounted(tally: Tally, succeeded: bool) -> Tally {
    if succeeded || tally.failed > 0 { tally } else { Tally { failed: 1, ..tally } }
}

/// Parses libtest's line `test result: ok. 5 passed; 0 failed; 1 ignored; …`.
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
        let mut lines = 0;
        let outcome = watch(Command::new("sh").args(["-c", &format!("{line}; {line}; exit 101")]), |_| lines += 1);
        assert_eq!(outcome.expect("sh runs"), (Tally { passed: 4, failed: 2, ignored: 0 }, false));
        assert_eq!(lines, 2);
    }

    #[test]
    fn a_runner_that_crashes_is_a_failure() {
        let tally = Tally { passed: 2, ..Tally::default() };
        assert_eq!(accounted(tally, false), Tally { passed: 2, failed: 1, ignored: 0 });
        assert_eq!(accounted(tally, true), tally);
    }
}
