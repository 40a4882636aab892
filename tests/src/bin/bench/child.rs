//! Runs another program and measures its cost.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flowml_tests::proc_status::field;
use rustix::fs::{MemfdFlags, memfd_create};

/// The cost of a program, with all programs that it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time in user and kernel mode, in s.
    pub(crate) cpu_s: f64,
    /// Time from its start to its end, in s.
    pub(crate) wall_s: f64,
    /// Peak resident memory of the program itself, in bytes.
    pub(crate) memory: u64,
}

/// Runs a program to its end. Returns what it wrote, and its cost.
pub(crate) fn run(command: &mut Command) -> Result<(String, Cost)> {
    let name = command.get_program().display().to_string();
    // The output goes to a file in memory: a pipe would need a reader while the program runs.
    let output = File::from(memfd_create("output", MemfdFlags::CLOEXEC)?);
    let errors = output.try_clone()?;
    let start = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(errors).spawn();
    let child = child.with_context(|| format!("cannot start {name}"))?;
    let (status, cost) = wait(child.id(), start).with_context(|| format!("waiting for {name}"))?;
    let text = text_of(output)?;
    ensure!(status == 0, "{name} failed with wait status {status}: {text}");
    Ok((text, cost))
}

fn text_of(mut output: File) -> Result<String> {
    output.rewind()?;
    let mut text = String::new();
    output.read_to_string(&mut text).context("the output of the program is not UTF-8")?;
    Ok(text)
}

/// Interval between two readings of a program's memory. Memory that it allocates within this time before its end is not
/// seen.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits for a child. Returns its status, and the cost of the child and of the children that it has waited for.
fn wait(child: u32, start: Instant) -> Result<(i32, Cost)> {
    let mut memory = 0;
    loop {
        // `ru_maxrss` cannot be used: it includes the memory of the parent at the time of the fork.
        // The program may just have ended.
        memory = memory.max(field(child, "VmHWM").map_or(0, |kib| kib * 1024));
        if let Some((status, cpu_s)) = try_wait(child)? {
            return Ok((status, Cost { cpu_s, wall_s: start.elapsed().as_secs_f64(), memory }));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// wait4(2): the status of a child that has ended, and its CPU time in s.
fn try_wait(child: u32) -> Result<Option<(i32, f64)>> {
    let mut status = 0;
    // SAFETY: `rusage` is a struct of numbers, for which zero is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `status` and `usage` are valid for writes, and the kernel writes values of their types.
    let waited = unsafe { libc::wait4(child as libc::pid_t, &raw mut status, libc::WNOHANG, &raw mut usage) };
    ensure!(waited >= 0, "wait4: {}", io::Error::last_os_error());
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok((waited > 0).then(|| (status, seconds(usage.ru_utime) + seconds(usage.ru_stime))))
}
