//! The receivers of the agent's outputs, which can be made to fail: the reader of a FIFO, a collector, a small disk.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::rows::{Lines, listed};
use crate::lab::Host;

/// Interval at which a stalled receiver checks whether to continue.
const LOOK: Duration = Duration::from_millis(20);

/// Errors of a socket with a time limit that are no failure.
const IDLE: [ErrorKind; 3] = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];

/// The reader of a FIFO. It counts the packets in its rows.
#[derive(Debug)]
pub(super) struct Reader {
    stalls: Arc<AtomicBool>,
    thread: JoinHandle<Result<Lines>>,
}

impl Reader {
    /// Makes the FIFO, and reads it from the moment at which a writer opens it.
    pub(super) fn start(path: &Path) -> Result<Self> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("making a FIFO")?;
        let stalls = Arc::new(AtomicBool::new(false));
        let (path, stalled) = (path.to_owned(), Arc::clone(&stalls));
        let read = move || {
            let mut fifo = BufReader::new(File::open(&path).context("opening the FIFO")?);
            let (mut lines, mut line) = (Lines::default(), String::new());
            while fifo.read_line(&mut line).context("reading the FIFO")? > 0 {
                lines.take(&line);
                line.clear();
                while stalled.load(Ordering::Relaxed) {
                    thread::sleep(LOOK);
                }
            }
            Ok(lines)
        };
        Ok(Self { stalls, thread: thread::spawn(read) })
    }

    pub(super) fn stall(&self, stalls: bool) {
        self.stalls.store(stalls, Ordering::Relaxed);
    }

    /// The packets in all rows, after the agent has ended.
    pub(super) fn finish(self) -> Result<u64> {
        self.stall(false);
        let Ok(lines) = self.thread.join() else { bail!("reading the FIFO panicked") };
        Ok(lines?.packets)
    }
}

/// A collector of datagrams. It counts them.
#[derive(Debug)]
pub(super) struct Collector {
    state: Arc<Activity>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

#[derive(Debug, Default)]
struct Activity {
    away: AtomicBool,
    over: AtomicBool,
    messages: AtomicU64,
}

impl Collector {
    /// Listens in a host.
    pub(super) fn start(host: &Host, address: &'static str) -> Result<Self> {
        let state = Arc::new(Activity::default());
        let collecting = Arc::clone(&state);
        let thread = host.spawn_thread(move || collecting.collect(address))?;
        Ok(Self { state, thread: Some(thread) })
    }

    pub(super) fn set_away(&self, away: bool) {
        self.state.away.store(away, Ordering::Relaxed);
    }

    /// The number of received messages.
    pub(super) fn messages(&self) -> u64 {
        self.state.messages.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error)) | Ok(Ok(Err(error)))) => eprintln!("the collector: {error:#}"),
            Some(Err(_)) => eprintln!("the collector panicked"),
            Some(Ok(Ok(Ok(())))) | None => {}
        }
    }
}

impl Activity {
    fn collect(&self, address: &str) -> Result<()> {
        let mut message = vec![0; 1 << 16];
        while !self.over.load(Ordering::Relaxed) {
            if self.away.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                continue;
            }
            let socket = UdpSocket::bind(address).context("listening for messages")?;
            socket.set_read_timeout(Some(LOOK))?;
            while !self.away.load(Ordering::Relaxed) && !self.over.load(Ordering::Relaxed) {
                match socket.recv(&mut message) {
                    Ok(_) => _ = self.messages.fetch_add(1, Ordering::Relaxed),
                    Err(error) if IDLE.contains(&error.kind()) => {}
                    Err(error) => return Err(error).context("receiving a message"),
                }
            }
        }
        Ok(())
    }
}

/// A small file system that only the agent has mounted, seen from outside.
#[derive(Debug)]
pub(super) struct SmallDisk {
    root: PathBuf,
}

impl SmallDisk {
    /// The mount options.
    pub(super) const SIZE: &str = "size=256m,mode=700";

    /// The file system that is mounted at `path` for a process with its own mount namespace.
    pub(super) fn of(process: u32, path: &Path) -> Self {
        let inside = path.strip_prefix("/").unwrap_or(path);
        Self { root: Path::new("/proc").join(process.to_string()).join("root").join(inside) }
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }

    /// Fills the disk.
    pub(super) fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.filler()).context("filling the small disk")?;
        let chunk = vec![0; 1 << 20];
        for length in [chunk.len(), 4096, 1] {
            loop {
                match filler.write(&chunk[..length]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("filling the small disk"),
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    pub(super) fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("making room on the small disk")
    }

    /// Removes complete files, but not the file that fills the disk.
    pub(super) fn tidy(&self) -> Result<()> {
        for path in listed(&self.root)? {
            if path.extension() == Some(OsStr::new("csv")) {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }
}
