//! A file or standard output that rows are written to, and the account of those that could not be.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::target::Destination;

/// Rows are handed to the system in pieces of about this size, bytes, and at each flush.
const PIECE: usize = 64 * 1024;

/// Rows end with this byte and have it nowhere else.
const ROW_END: u8 = b'\n';

/// Until a full pipe is tried again.
const FULL_PIPE: Duration = Duration::from_millis(1);

/// How an output is doing.
#[derive(Debug)]
pub(super) enum State {
    /// All that was given to it was written, or waits in its buffer.
    Writing,
    /// Standard output is a pipe and its reader has gone: nobody misses the rows.
    ReaderGone,
    /// It could not be written; rows are counted from then on, and lost.
    Failed(io::Error),
}

/// A destination with a buffer of whole rows.
pub(super) struct Output {
    destination: Destination,
    stream: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    state: State,
    account: Arc<Account>,
}

impl Output {
    /// Opens the destination; a file is truncated. This waits for the reader of a FIFO.
    pub(super) fn open(destination: Destination, account: Arc<Account>) -> io::Result<Self> {
        let stream: Box<dyn Write + Send> = match &destination {
            // Not `stdout()`, which would write each row by itself.
            Destination::StandardOutput => Box::new(duplicate_stdout()?),
            Destination::File(path) => Box::new(account.wait_in(|| File::create(path))?),
        };
        Ok(Self::over(destination, stream, account))
    }

    /// An output to a stream that is already open.
    pub(super) fn over(destination: Destination, stream: Box<dyn Write + Send>, account: Arc<Account>) -> Self {
        let buffer = Vec::with_capacity(PIECE + PIECE / 4);
        Self { destination, stream, buffer, state: State::Writing, account }
    }

    /// Writes what stands before the rows and is none.
    pub(super) fn header(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut header = Vec::new();
        write(&mut header);
        match self.account.wait_in(|| self.stream.write_all(&header)) {
            Err(error) if self.is_reader_gone(&error) => self.state = State::ReaderGone,
            written => written?,
        }
        Ok(())
    }

    /// Takes the row that `write` appends to the buffer. The row must end with its only line feed.
    pub(super) fn row(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.state, State::Writing) {
            self.account.add_lost(1);
            return;
        }
        write(&mut self.buffer);
        debug_assert_eq!(self.buffer.last(), Some(&ROW_END), "a row ends with a line feed");
        if self.buffer.len() >= PIECE {
            self.flush();
        }
    }

    /// Hands over what is in the buffer.
    pub(super) fn flush(&mut self) {
        if !matches!(self.state, State::Writing) {
            return;
        }
        let mut written = 0;
        while written < self.buffer.len() {
            let rest = &self.buffer[written..];
            match self.account.wait_in(|| write_some(&mut *self.stream, rest)) {
                Ok(0) => return self.fail(ErrorKind::WriteZero.into(), written),
                Ok(more) => {
                    self.account.add_written(rows_in(&rest[..more]));
                    written += more;
                }
                Err(error) => return self.fail(error, written),
            }
        }
        self.buffer.clear();
    }

    /// Counts the rows that are not wholly in the first `written` bytes of the buffer as lost.
    fn fail(&mut self, error: io::Error, written: usize) {
        self.account.add_lost(rows_in(&self.buffer[written..]));
        self.buffer = Vec::new();
        self.state = if self.is_reader_gone(&error) { State::ReaderGone } else { State::Failed(error) };
    }

    fn is_reader_gone(&self, error: &io::Error) -> bool {
        self.destination == Destination::StandardOutput && error.kind() == ErrorKind::BrokenPipe
    }

    #[cfg(test)]
    pub(super) fn account(&self) -> Arc<Account> {
        Arc::clone(&self.account)
    }

    #[cfg(test)]
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }
}

/// Writes at least a byte; waits while a pipe is full that its other end made non-blocking.
fn write_some(stream: &mut dyn Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL_PIPE),
            written => return written,
        }
    }
}

/// Rows that end in these bytes.
fn rows_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == ROW_END).count() as u64
}

/// Standard output as a file of its own, unbuffered.
fn duplicate_stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Takes so many bytes, a few at a time, then fails.
    struct Full {
        taken: Arc<Mutex<Vec<u8>>>,
        room: usize,
        error: ErrorKind,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.taken.lock().expect("no test panicked");
            let more = bytes.len().min(self.room - taken.len()).min(7);
            if more == 0 && !bytes.is_empty() {
                return Err(self.error.into());
            }
            taken.extend(&bytes[..more]);
            Ok(more)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn full(destination: Destination, room: usize, error: ErrorKind) -> (Output, Arc<Mutex<Vec<u8>>>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let stream = Full { taken: Arc::clone(&taken), room, error };
        (Output::over(destination, Box::new(stream), Arc::new(Account::new())), taken)
    }

    fn account(output: &Output) -> (u64, u64) {
        (output.account.written(), output.account.lost())
    }

    /// Bytes of a row of these tests.
    const ROW: usize = 10;

    fn write_rows(output: &mut Output, rows: usize) {
        for row in 0..rows {
            output.row(|buffer| buffer.extend(format!("row {row:5}\n").bytes()));
        }
        output.flush();
    }

    #[test]
    fn rows_come_out_as_they_went_in() {
        let (mut output, taken) = full(Destination::File("x".into()), usize::MAX, ErrorKind::Other);
        write_rows(&mut output, 20_000);
        let taken = taken.lock().expect("no test panicked");
        let expected: String = (0..20_000).map(|row| format!("row {row:5}\n")).collect();
        assert!(*taken == expected.as_bytes());
        assert_eq!(account(&output), (20_000, 0));
    }

    #[test]
    fn every_row_is_either_written_whole_or_lost() {
        for room in [0, 1, ROW - 1, ROW, ROW + 1, 70_000, 9_999 * ROW, 10_000 * ROW] {
            let (mut output, taken) = full(Destination::File("x".into()), room, ErrorKind::StorageFull);
            write_rows(&mut output, 9_000);
            write_rows(&mut output, 1_000);
            let whole = taken.lock().expect("no test panicked").iter().filter(|byte| **byte == ROW_END).count() as u64;
            assert_eq!(account(&output), (whole, 10_000 - whole), "{room}");
            let failed = matches!(output.state(), State::Failed(error) if error.kind() == ErrorKind::StorageFull);
            assert_eq!(failed, whole < 10_000, "{room}");
        }
    }

    #[test]
    fn only_the_reader_of_standard_output_may_go() {
        let (mut output, _) = full(Destination::StandardOutput, 100, ErrorKind::BrokenPipe);
        write_rows(&mut output, 20);
        assert!(matches!(output.state(), State::ReaderGone));
        let (mut output, _) = full(Destination::File("fifo".into()), 100, ErrorKind::BrokenPipe);
        write_rows(&mut output, 20);
        assert!(matches!(output.state(), State::Failed(_)));
    }
}
