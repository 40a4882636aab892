//! Reading from slow sources: a read ends when a signal arrives, and is interrupted after each interval.

use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use thiserror::Error;

/// The signals that end reading before the end of the files: SIGINT and SIGTERM.
#[derive(Clone, Debug)]
pub struct Signals {
    /// Receives a byte for each signal. Nothing reads the bytes, so after the first signal every later read ends too.
    received: Arc<UnixStream>,
}

impl Signals {
    /// Registers for signals from now on.
    ///
    /// # Errors
    /// If the system refuses it.
    #[cfg(feature = "live")]
    pub fn listen() -> io::Result<Self> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        use signal_hook::low_level::pipe;

        let (received, sender) = UnixStream::pair()?;
        pipe::register(SIGINT, sender.try_clone()?)?;
        pipe::register(SIGTERM, sender)?;
        Ok(Self { received: Arc::new(received) })
    }

    /// Whether a signal has arrived.
    ///
    /// # Errors
    /// If poll(2) fails.
    pub fn have_come(&self) -> io::Result<bool> {
        loop {
            match poll(&mut [PollFd::new(&self.received, PollFlags::IN)], Some(&Timespec::default())) {
                Err(Errno::INTR) => {}
                ready => return Ok(ready? > 0),
            }
        }
    }
}

/// A file that is read until a signal arrives.
pub(super) struct Waiting {
    file: File,
    signals: Signals,
    /// The longest time that a read waits for bytes.
    every: Timespec,
}

impl Waiting {
    pub(super) fn new(file: File, signals: Signals, every: Duration) -> Self {
        // An interval is at most one hour.
        let every = Timespec::try_from(every).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        Self { file, signals, every }
    }

    /// Waits for bytes, the end of the file, a signal, or the end of the interval.
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

/// The error of a read that a signal ended. All readers above pass it on.
fn stopped() -> io::Error {
    ErrorKind::WouldBlock.into()
}

/// Whether the error is that of [`stopped`].
pub(super) fn is_stopped(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// The error of a read that received no byte for an interval. All readers above pass it on, and can be read again.
#[derive(Debug, Error)]
#[error("no bytes came for an interval")]
struct Silent;

/// Whether the error is [`Silent`].
pub(super) fn is_silent(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Silent>)
}
