//! Writes to standard error on a separate thread, so that a blocked terminal or pipe delays nothing else.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use flowml_user::export::Account;
use flowml_user::process::capabilities::{self, CapabilitySet};
use flowml_user::process::queue::Queue;

/// Maximum size of queued text, bytes; further text is dropped.
const ROOM: usize = 1 << 20;

/// After a write has blocked for this time, the process stops waiting for it.
const STALLED: Duration = Duration::from_millis(500);

/// Interval at which a wait checks for progress.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The standard error of this process.
static STANDARD_ERROR: OnceLock<Outward> = OnceLock::new();

/// A writer that does not block. [`flush`](Write::flush) waits while the destination accepts data.
#[derive(Clone)]
pub(crate) struct Outward {
    queue: Arc<Queue<Vec<u8>>>,
    shared: Arc<Shared>,
}

struct Shared {
    account: Account,
    /// Bytes that are not written yet.
    waiting: AtomicUsize,
    /// Whether a write has failed.
    failed: AtomicBool,
}

impl Outward {
    /// Standard error of this process. Text is dropped if the thread cannot be started.
    pub(crate) fn standard_error() -> Self {
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

    /// The work of the thread, for the life of the process.
    fn work(&self, mut stream: impl Write) {
        let _ = capabilities::keep(CapabilitySet::empty());
        while let Some(text) = self.queue.next() {
            let written = self.shared.account.wait_in(|| stream.write_all(&text).and_then(|()| stream.flush()));
            self.shared.failed.fetch_or(written.is_err(), Ordering::AcqRel);
            self.shared.waiting.fetch_sub(text.len(), Ordering::AcqRel);
        }
    }

    /// Bytes that are not written yet.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Acquire)
    }
}

impl Write for Outward {
    /// Queues the text. If the queue is full, the text is dropped.
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

/// Writes the last text of the process, and waits a moment for it to be written.
pub(crate) fn print_last(text: &str) {
    let mut outward = Outward::standard_error();
    let _ = outward.write_all(text.as_bytes()).and_then(|()| outward.flush());
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_blocked_reader_is_waited_for_briefly() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut outward = Outward::to(ours);
        let text = vec![b'x'; 100_000];
        // More than the socket and the queue hold.
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
    fn text_is_read_completely_and_in_order() {
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
