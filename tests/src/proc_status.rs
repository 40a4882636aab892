//! The state of a process in `/proc/PID/status`, see proc_pid_status(5).

use std::fs;

use anyhow::{Context, Result};

/// The number in a field of the status of a process. Memory is in KiB.
///
/// # Errors
/// If the process has ended, or if there is no such number.
pub fn field(process: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("there is no {name} in {path}"))
}
