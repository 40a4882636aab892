//! Standard error, written by a thread of its own: a terminal or a pipe that takes nothing holds nothing else up.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use super::account::Account;
use crate::process::capabilities::{self, CapabilitySet};
use crate::process::queue::Queue;

/// Text that waits takes at most so many bytes; further text is not shown.
const ROOM: usize = 1 << 20;

/// A reader that has taken nothing for so long is waited for no more.
const STALLED: Duration = Duration::from_millis(500);

/// How often a wait looks at that.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The one of this process.
static STANDARD_ERROR: OnceLock<Outward> = OnceLock::new();

/// A place to write to without waiting; [`flush`](Write::flush) waits, as long as what was written is taken.
#[derive(Clone)]
pub(super) struct Outward {
    queue: Arc<Queue<Vec<u8>>>,
    shared: Arc<Shared>,
}

struct Shared {
    account: Account,
    /// Bytes that are not with the system yet.
    waiting: AtomicUsize,
    /// Whether the system has refused some.
    failed: AtomicBool,
}

impl Outward {
    /// That of this process. Where there can be no thread, nothing is shown.
    pub(super) fn standard_error() -> Self {
        STANDARD_ERROR.get_or_init(|| Self::to(io::stderr())).clone()
    }

    fn to(stream: impl Write + Send + 'static) -> Self {
        let shared = Shared { account: Account::new(), waiting: AtomicUsize::new(0), failed: AtomicBool::new(false) };
        let outward = Self { queue: Arc::new(Queue::new(ROOM)), shared: Arc::new(shared) };
        let own = outward.clone();
        let started = thread::Builder::new().name("console".to_owned()).spawn(move || own.work(stream));
        outward.shared.failed.store(started.is_err(), Ordering::Release);
        outward
    }

    /// What its thread does, as long as the process lasts.
    fn work(&self, mut stream: impl Write) {
        let _ = capabilities::keep(CapabilitySet::empty());
        while let Some(text) = self.queue.next() {
            let written = self.shared.account.wait_in(|| stream.write_all(&text).and_then(|()| stream.flush()));
            self.shared.failed.fetch_or(written.is_err(), Ordering::AcqRel);
            self.shared.waiting.fetch_sub(text.len(), Ordering::AcqRel);
        }
    }

    /// Bytes that are not with the system yet.
    pub(super) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Acquire)
    }
}

impl Write for Outward {
    /// Takes all of it; where too much waits already, the text is dropped.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.shared.waiting.fetch_add(bytes.len(), Ordering::AcqRel);
        if self.queue.offer(bytes.to_vec(), bytes.len()).is_err() {
            self.shared.waiting.fetch_sub(bytes.len(), Ordering::AcqRel);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.waiting() > 0 && self.shared.account.waits() < STALLED && !self.shared.failed.load(Ordering::Acquire)
        {
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// Shows the last text of the process, and waits a moment for it to be taken.
pub fn tell_last(text: &str) {
    let mut outward = Outward::standard_error();
    let _ = outward.write_all(text.as_bytes()).and_then(|()| outward.flush());
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_nobody_reads_is_waited_for_a_moment_only() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut outward = Outward::to(ours);
        let text = vec![b'x'; 100_000];
        // More than the socket and the queue take.
        for _ in 0..30 {
            outward.write_all(&text).expect("it does not wait");
        }
        assert!((1..=ROOM + text.len()).contains(&outward.waiting()));
        outward.flush().expect("it gives up");
        assert!(outward.waiting() > 0);
        thread::spawn(move || io::copy(&mut theirs, &mut io::sink()));
        while outward.waiting() > 0 {
            outward.flush().expect("it is read");
        }
    }

    #[test]
    fn what_is_read_comes_in_order_and_whole() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut outward = Outward::to(ours);
        let reader = thread::spawn(move || {
            let mut read = [0; 4];
            theirs.read_exact(&mut read).map(|()| read)
        });
        outward.write_all(b"ab").and_then(|()| outward.write_all(b"cd")).expect("memory");
        outward.flush().expect("it is read");
        assert_eq!((reader.join().expect("no panic").expect("four bytes"), outward.waiting()), (*b"abcd", 0));
    }
}
