//! Sends messages over TCP on its own thread, so that a slow or unreachable collector delays nothing else.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::account::Account as Shown;
use super::super::pace::Pace;
use super::super::remote::connect;
use super::super::target::Collector;
use super::account::Account;
use super::message::{Message, Numbering};
use crate::process::capabilities::{self, CapabilitySet};

/// Maximum length of a message, bytes: some dozen records, so that headers add little.
pub(super) const LONGEST: usize = 8192;

/// Maximum memory of queued messages, bytes: some 50,000 flows.
const WAITING_BYTES: usize = 16 << 20;

/// Time limit for connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A connection is closed when the collector accepts nothing for this time.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Time until the first retry. It doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Time for which the end of the run waits until queued messages are sent.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

/// The sender of messages to a collector.
pub(super) struct Tcp {
    queue: Arc<Queue>,
    pace: Pace,
}

/// The state shared by the run and the sending thread.
struct Queue {
    collector: Collector,
    /// Whether the run looks into tunnels.
    tunnels: bool,
    state: Mutex<Sending>,
    changed: Condvar,
    /// Shows other threads how long this thread has waited for the collector.
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Sending {
    waiting: VecDeque<Message>,
    /// Bytes of queued messages.
    bytes: usize,
    /// Records of the message that is being sent.
    writing: u64,
    account: Account,
    /// The reason why there is no connection; `None` before the first failed attempt.
    away: Option<String>,
    /// Whether records were lost because the queue was full, since this was last checked.
    overflowed: bool,
    /// The time at which the thread stops sending; set at the end of the run.
    end: Option<Instant>,
    /// Whether the thread has finished.
    done: bool,
}

impl Tcp {
    /// Resolves the collector's name, and starts to connect.
    pub(super) fn open(collector: &Collector, tunnels: bool, pace: Pace, shown: Arc<Shown>) -> io::Result<Self> {
        // An invalid name is reported now. Later the name may have other addresses, or none for a time.
        (collector.host.as_str(), collector.port).to_socket_addrs()?;
        let state = Mutex::default();
        let queue = Arc::new(Queue { collector: collector.clone(), tunnels, state, changed: Condvar::new(), shown });
        let of_thread = Arc::clone(&queue);
        thread::Builder::new().name("ipfix".to_owned()).spawn(move || {
            // The thread only writes to sockets, so it also works if capabilities cannot be dropped.
            let _ = capabilities::keep(CapabilitySet::empty());
            of_thread.work();
        })?;
        Ok(Self { queue, pace })
    }

    /// Queues a message. If the queue is full, its records are lost. A run over files instead waits for space while
    /// there is a connection.
    pub(super) fn send(&self, message: Message) {
        let mut state = self.queue.lock();
        while self.pace == Pace::Offline && !state.has_room(&message) && state.away.is_none() {
            state = self.queue.wait(state, WRITE_LIMIT);
        }
        if state.has_room(&message) {
            state.bytes += message.len();
            state.waiting.push_back(message);
            self.queue.changed.notify_all();
        } else {
            state.account.lost += message.records();
            state.overflowed = true;
        }
    }

    /// Gives the thread a limited time to send queued messages. The remaining ones are lost.
    pub(super) fn finish(&self) {
        let mut state = self.queue.lock();
        let end = Instant::now() + FLUSH_LIMIT;
        state.end = Some(end);
        self.queue.changed.notify_all();
        while !state.done && Instant::now() < end {
            state = self.queue.wait(state, end.saturating_duration_since(Instant::now()));
        }
        let waiting: u64 = state.waiting.drain(..).map(|message| message.records()).sum();
        state.account.lost += waiting + std::mem::take(&mut state.writing);
        state.bytes = 0;
    }

    pub(super) fn account(&self) -> Account {
        self.queue.lock().account
    }

    pub(super) fn take_trouble(&self) -> Option<String> {
        let mut state = self.queue.lock();
        let overflowed = std::mem::take(&mut state.overflowed);
        state.away.clone().or_else(|| overflowed.then(|| "the collector reads too slowly".to_owned()))
    }
}

impl Sending {
    fn has_room(&self, message: &Message) -> bool {
        self.bytes + message.len() <= WAITING_BYTES
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.waiting.is_empty() || end <= Instant::now())
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Sending> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Sending>, limit: Duration) -> MutexGuard<'a, Sending> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The thread's work: connects, then sends until the connection breaks or the run ends.
    fn work(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.shown.wait_in(|| self.connect()) {
                Ok(stream) => {
                    self.lock().away = None;
                    pause = FIRST_PAUSE;
                    match self.serve(stream) {
                        Ok(()) => break,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let mut state = self.lock();
            state.away = Some(error.to_string());
            self.changed.notify_all();
            let again = Instant::now() + pause;
            pause = (2 * pause).min(LONGEST_PAUSE);
            // At the end of the run there is one more attempt, without a pause.
            if state.end.is_some() {
                break;
            }
            while state.end.is_none() && Instant::now() < again {
                let left = again.saturating_duration_since(Instant::now());
                state = self.shown.wait_in(|| self.wait(state, left));
            }
            if state.is_over() {
                break;
            }
        }
        self.lock().done = true;
        self.changed.notify_all();
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = connect((self.collector.host.as_str(), self.collector.port), CONNECT_LIMIT)?;
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        Ok(stream)
    }

    /// Sends the templates and then the messages, until the run ends. A partly sent message is lost, and the connection
    /// is closed.
    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut numbering = Numbering::default();
        for mut templates in Message::of_templates(LONGEST, self.tunnels) {
            self.shown.wait_in(|| stream.write_all(numbering.complete(&mut templates)))?;
        }
        while let Some(mut message) = self.next() {
            let bytes = numbering.complete(&mut message);
            let written = still_open(&mut stream).and_then(|()| self.shown.wait_in(|| stream.write_all(bytes)));
            let mut state = self.lock();
            let records = std::mem::take(&mut state.writing);
            match written {
                Ok(()) => {
                    numbering.sent(&message);
                    state.account.sent += records;
                }
                Err(_) => state.account.lost += records,
            }
            self.shown.set(state.account.sent, state.account.lost);
            written?;
        }
        Ok(())
    }

    /// The next message; none at the end of the run.
    fn next(&self) -> Option<Message> {
        let mut state = self.lock();
        loop {
            if state.is_over() {
                return None;
            }
            if let Some(message) = state.waiting.pop_front() {
                state.bytes -= message.len();
                state.writing = message.records();
                self.changed.notify_all();
                return Some(message);
            }
            state = self.wait(state, WRITE_LIMIT);
        }
    }
}

/// Fails if the collector has closed the connection. A collector sends nothing (RFC 7011 §10.4), so readable data means
/// the end of the connection. Without this check the next message would be written without an error, and lost.
fn still_open(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let read = stream.read(&mut [0; 64]);
    stream.set_nonblocking(false)?;
    match read {
        Ok(0) => Err(io::Error::new(ErrorKind::ConnectionReset, "the collector has closed the connection")),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}
