//! Child processes: collects their output while they run, and ends them when their guard is dropped.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

/// Time that a process has to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// Time for which a pipe may stay open after its process group has ended. The reading thread must be scheduled once.
const PIPE_CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// A running process in a process group of its own. Dropping it ends the whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Collected,
    stderr: Collected,
    /// Set once the leader is reaped. From then on its id may belong to another process.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` without standard input, as the leader of a new process group.
    pub fn start(command: Command) -> Result<Self> {
        let (mut process, stdout) = Self::start_piped(command)?;
        process.stdout = Collected::from_pipe(stdout);
        Ok(process)
    }

    /// As [`Self::start`], but the caller reads standard output, because it is too much to collect.
    pub fn start_piped(mut command: Command) -> Result<(Self, Option<ChildStdout>)> {
        let name = format!("{command:?}");
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let stdout = child.stdout.take();
        let stderr = Collected::from_pipe(child.stderr.take());
        Ok((Self { name, child, stdout: Collected::from_pipe(None::<ChildStdout>), stderr, ended: None }, stdout))
    }

    /// The process id, which is also the id of its process group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The collected standard output.
    pub fn stdout(&self) -> &Collected {
        &self.stdout
    }

    /// The collected standard error.
    pub fn stderr(&self) -> &Collected {
        &self.stderr
    }

    /// Sends `signal` only to the process, not to its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal).with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// Whether the process is still running.
    pub fn is_running(&self) -> Result<bool> {
        Ok(!self.ends_within(Duration::ZERO)?)
    }

    /// Waits until the process ends. If that takes longer than `limit`, ends it and fails.
    pub fn wait(mut self, limit: Duration) -> Result<Output> {
        if !self.ends_within(limit)? {
            let stderr = self.stderr.text();
            bail!("{} still ran after {limit:?}; its standard error so far:\n{stderr}", self.name);
        }
        let status = self.end()?;
        Ok(Output { status, stdout: self.stdout.all(), stderr: self.stderr.all() })
    }

    /// Waits for the end without reaping, so that the id stays valid and the group can still get signals.
    fn ends_within(&self, limit: Duration) -> Result<bool> {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).with_context(|| format!("watching {}", self.name))?;
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).context("a time limit that the kernel can hold")?;
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).with_context(|| format!("waiting for {}", self.name)),
            }
        }
    }

    /// Ends the rest of the group, then reaps the leader. If a signal fails, no process of the group is left.
    fn end(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let _ = kill_process_group(self.pid(), Signal::TERM);
        self.ends_within(GRACE)?;
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let status = self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        self.ended = Some(status);
        Ok(status)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{} could not be ended: {error:#}", self.name);
        }
    }
}

/// The bytes that a pipe has delivered so far. A thread reads the pipe, so the writer never blocks.
#[derive(Debug, Clone, Default)]
pub struct Collected(Arc<(Mutex<Buffer>, Condvar)>);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    closed: bool,
}

impl Collected {
    fn from_pipe(pipe: Option<impl Read + Send + 'static>) -> Self {
        let collected = Self::default();
        match pipe {
            None => collected.close(),
            Some(pipe) => {
                let writer = collected.clone();
                thread::spawn(move || writer.fill(pipe));
            }
        }
        collected
    }

    fn fill(&self, mut pipe: impl Read) {
        let mut chunk = [0; 16 * 1024];
        loop {
            match pipe.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => {
                    self.lock().bytes.extend_from_slice(&chunk[..n]);
                    self.0.1.notify_all();
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.close();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the bytes so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// The bytes so far as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Calls `found` with all bytes so far, and again after each arrival, until it returns a value. Returns `None` if
    /// the pipe is closed or `limit` passes first.
    pub fn wait_for<T>(&self, limit: Duration, mut found: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut buffer = self.lock();
        loop {
            if let Some(answer) = found(&buffer.bytes) {
                return Some(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if buffer.closed || left.is_zero() {
                return None;
            }
            buffer = self.0.1.wait_timeout(buffer, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the pipe is closed. That is soon after the last process that holds it has ended.
    pub(crate) fn wait_closed(&self) {
        self.wait_for(PIPE_CLOSES_WITHIN, |_| None::<()>);
    }

    fn all(&self) -> Vec<u8> {
        self.wait_closed();
        self.bytes()
    }
}
