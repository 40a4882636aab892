//! Reading what may be long in coming: a wait for it ends when the run is to end, and is interrupted at each interval.

use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use thiserror::Error;

/// What ends a reading before the end of its files: SIGINT or SIGTERM.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Gets a byte for each signal, which nobody reads: whatever is read after a signal is to end.
    received: Arc<UnixStream>,
}

impl Signals {
    /// Listens for signals from now on.
    ///
    /// # Errors
    /// Where the system refuses that.
    pub fn listen() -> io::Result<Self> {
        let (received, sender) = UnixStream::pair()?;
        pipe::register(SIGINT, sender.try_clone()?)?;
        pipe::register(SIGTERM, sender)?;
        Ok(Self { received: Arc::new(received) })
    }

    /// Whether one has come.
    ///
    /// # Errors
    /// Those of the system.
    pub fn have_come(&self) -> io::Result<bool> {
        loop {
            match poll(&mut [PollFd::new(&self.received, PollFlags::IN)], Some(&Timespec::default())) {
                Err(Errno::INTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }
}

/// A file that is read as long as no signal comes.
pub(super) struct Waiting {
    file: File,
    signals: Signals,
    /// How long a reading waits for bytes.
    every: Timespec,
}

impl Waiting {
    pub(super) fn new(file: File, signals: Signals, every: Duration) -> Self {
        // An interval is an hour at most.
        let every = Timespec::try_from(every).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        Self { file, signals, every }
    }

    /// Waits for bytes, the end of the file, a signal, or the end of an interval.
    fn wait(&self) -> io::Result<()> {
        loop {
            let (bytes, signals) = (self.file.as_fd(), self.signals.received.as_fd());
            let mut both = [bytes, signals].map(|of| PollFd::from_borrowed_fd(of, PollFlags::IN));
            match poll(&mut both, Some(&self.every)) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(0) => return Err(io::Error::new(ErrorKind::TimedOut, Silent)),
                Ok(_) if both[1].revents().is_empty() => return Ok(()),
                Ok(_) => return Err(stopped()),
            }
        }
    }
}

impl Read for Waiting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.file.read(buffer)
    }
}

/// What a reader says that a signal has kept from its bytes. All readers above it hand that on.
fn stopped() -> io::Error {
    ErrorKind::WouldBlock.into()
}

/// Whether an error says that.
pub(super) fn is_stopped(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// What a reader says that got no byte for an interval. All readers above it hand that on, and can be read again.
#[derive(Debug, Error)]
#[error("no bytes came for an interval")]
struct Silent;

/// Whether an error says that.
pub(super) fn is_silent(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Silent>)
}
