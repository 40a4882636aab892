//! Writes rows to a file or to standard output, and counts rows that could not be written.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::Account;
use super::backoff::Backoff;
use super::files::Files;
use super::target::Destination;

/// Rows are passed to the system in chunks of about this size, bytes, and at each flush.
const PIECE: usize = 64 * 1024;

/// The byte that ends each row and does not occur inside a row.
const ROW_END: u8 = b'\n';

/// Time until a write to a full pipe is tried again.
const FULL_PIPE: Duration = Duration::from_millis(1);

/// The state of an output.
#[derive(Debug)]
pub(super) enum OutputState {
    /// All rows were written or are in the buffer.
    Writing,
    /// Standard output is a pipe that its reader has closed. The missing rows are no error.
    ReaderGone,
    /// Writing failed. Rows are lost, and counted, until a retry succeeds.
    Failed(io::Error),
}

/// A destination with a buffer of complete rows.
pub(super) struct Output {
    destination: Destination,
    stream: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    state: OutputState,
    account: Arc<Account>,
    /// The header of each file.
    header: Vec<u8>,
    /// The file, if it can be opened again.
    file: Option<Reopened>,
}

/// A file that is opened again after a write error.
struct Reopened {
    files: Files,
    /// The open file, to cut off a partial row.
    file: File,
    /// Time of the next retry after a failure.
    backoff: Option<Backoff>,
}

impl Output {
    /// Opens the destination and truncates a file. For a FIFO this blocks until it has a reader.
    pub(super) fn open(destination: Destination, account: Arc<Account>) -> io::Result<Self> {
        let target = match &destination {
            // Not `stdout()`, which is line-buffered and would write each row separately.
            Destination::StandardOutput => return Ok(Self::over(destination, Box::new(duplicate_stdout()?), account)),
            Destination::File(target) => target.clone(),
        };
        let (files, file) = account.wait_in(|| Files::open(target))?;
        let stream = Box::new(file.try_clone()?);
        Ok(Self { file: Some(Reopened { files, file, backoff: None }), ..Self::over(destination, stream, account) })
    }

    /// An output over an open stream.
    pub(super) fn over(destination: Destination, stream: Box<dyn Write + Send>, account: Arc<Account>) -> Self {
        let buffer = Vec::with_capacity(PIECE + PIECE / 4);
        Self { destination, stream, buffer, state: OutputState::Writing, account, header: Vec::new(), file: None }
    }

    /// Writes the header, which does not count as a row.
    pub(super) fn header(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.header);
        match self.account.wait_in(|| self.stream.write_all(&self.header)) {
            Err(error) if self.is_reader_gone(&error) => self.state = OutputState::ReaderGone,
            written => written?,
        }
        Ok(())
    }

    /// Adds the row that `write` appends to the buffer. The row must end with its only line feed.
    pub(super) fn row(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let is_writing = matches!(self.state, OutputState::Writing);
        if !is_writing && !self.is_due() {
            self.account.add_lost(1);
            return;
        }
        write(&mut self.buffer);
        debug_assert_eq!(self.buffer.last(), Some(&ROW_END), "a row ends with a line feed");
        if !is_writing {
            self.try_again();
        } else if self.buffer.len() >= PIECE {
            self.flush();
        }
    }

    /// Writes the buffer to the destination.
    pub(super) fn flush(&mut self) {
        if !matches!(self.state, OutputState::Writing) {
            return;
        }
        let mut written = 0;
        while written < self.buffer.len() {
            let rest = &self.buffer[written..];
            match self.account.wait_in(|| write_some(&mut *self.stream, rest)) {
                Ok(0) => return self.fail(ErrorKind::WriteZero.into(), written),
                Ok(more) => {
                    self.account.add_written(rows_in(&rest[..more]));
                    if let Some(file) = &mut self.file {
                        file.files.add(more);
                    }
                    written += more;
                }
                Err(error) => return self.fail(error, written),
            }
        }
        self.buffer.clear();
        self.rotate();
    }

    /// Ends the output. An incomplete rotated file gets its final name.
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Some(file) = &mut self.file
            && let Err(error) = self.account.wait_in(|| file.files.finish())
        {
            self.fail(error, 0);
        }
    }

    /// Continues with the next file, if a rotation is due.
    fn rotate(&mut self) {
        let Some(file) = &mut self.file else { return };
        if let Some(next) = self.account.wait_in(|| file.files.rotate())
            && let Err(error) = next.and_then(|next| self.go_on(next))
        {
            self.fail(error, 0);
        }
    }

    /// Handles a write error. Rows that are not entirely in the first `written` bytes of the buffer are counted as
    /// lost.
    fn fail(&mut self, error: io::Error, written: usize) {
        self.account.add_lost(rows_in(&self.buffer[written..]));
        let whole = self.buffer[..written].iter().rposition(|byte| *byte == ROW_END).map_or(0, |end| end + 1);
        if let Some(Reopened { file, backoff, .. }) = &mut self.file {
            // A partial row would make the next row unreadable. If the disk refuses to truncate the file, the partial
            // row stays.
            let _ = self.account.wait_in(|| cut(file, (written - whole) as u64));
            backoff.get_or_insert_with(|| Backoff::begin(Instant::now()));
        }
        self.buffer = Vec::new();
        self.state = if self.is_reader_gone(&error) { OutputState::ReaderGone } else { OutputState::Failed(error) };
    }

    /// Whether a retry is due after a failure.
    fn is_due(&mut self) -> bool {
        let backoff = self.file.as_mut().and_then(|file| file.backoff.as_mut());
        backoff.is_some_and(|backoff| backoff.is_due(Instant::now()))
    }

    /// Opens the file again, and writes the row in the buffer.
    fn try_again(&mut self) {
        match self.reopen() {
            Ok(()) => {
                self.state = OutputState::Writing;
                self.flush();
            }
            Err(error) => self.fail(error, 0),
        }
        if matches!(self.state, OutputState::Writing)
            && let Some(file) = &mut self.file
        {
            file.backoff = None;
        }
    }

    /// Opens the file again.
    fn reopen(&mut self) -> io::Result<()> {
        let Some(reopened) = &mut self.file else { return Ok(()) };
        let file = self.account.wait_in(|| reopened.files.again())?;
        self.go_on(file)
    }

    /// Continues at the end of this file.
    fn go_on(&mut self, mut file: File) -> io::Result<()> {
        if file.metadata()?.len() == 0 {
            let written = self.account.wait_in(|| file.write_all(&self.header));
            // The next attempt would not notice a partial header.
            written.inspect_err(|_| drop(file.set_len(0)))?;
        }
        self.stream = Box::new(file.try_clone()?);
        if let Some(reopened) = &mut self.file {
            reopened.file = file;
        }
        Ok(())
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

    pub(super) fn state(&self) -> &OutputState {
        &self.state
    }
}

/// Writes at least one byte. Waits while a pipe is full that its other end made non-blocking.
fn write_some(stream: &mut dyn Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL_PIPE),
            written => return written,
        }
    }
}

/// Cuts `bytes` off the end of a regular file. Does nothing to other files.
fn cut(file: &File, bytes: u64) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.is_file() && bytes > 0 { file.set_len(metadata.len().saturating_sub(bytes)) } else { Ok(()) }
}

/// Number of rows that end in these bytes.
fn rows_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == ROW_END).count() as u64
}

/// A duplicate of standard output as an unbuffered file.
fn duplicate_stdout() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::super::rotation::Rotation;
    use super::super::target::FileTarget;
    use super::*;

    /// A stream that accepts a limited number of bytes, a few at a time, then fails.
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

    /// Length of a row in these tests, bytes.
    const ROW: usize = 10;

    fn write_rows(output: &mut Output, rows: usize) {
        for row in 0..rows {
            output.row(|buffer| buffer.extend(format!("row {row:5}\n").bytes()));
        }
        output.flush();
    }

    #[test]
    fn rows_are_written_unchanged() {
        let (mut output, taken) = full(Destination::File("x".into()), usize::MAX, ErrorKind::Other);
        write_rows(&mut output, 20_000);
        let taken = taken.lock().expect("no test panicked");
        let expected: String = (0..20_000).map(|row| format!("row {row:5}\n")).collect();
        assert!(*taken == expected.as_bytes());
        assert_eq!(account(&output), (20_000, 0));
    }

    #[test]
    fn every_row_is_either_written_completely_or_lost() {
        for room in [0, 1, ROW - 1, ROW, ROW + 1, 70_000, 9_999 * ROW, 10_000 * ROW] {
            let (mut output, taken) = full(Destination::File("x".into()), room, ErrorKind::StorageFull);
            write_rows(&mut output, 9_000);
            write_rows(&mut output, 1_000);
            let whole = taken.lock().expect("no test panicked").iter().filter(|byte| **byte == ROW_END).count() as u64;
            assert_eq!(account(&output), (whole, 10_000 - whole), "{room}");
            let failed = matches!(output.state(), OutputState::Failed(error) if error.kind() == ErrorKind::StorageFull);
            assert_eq!(failed, whole < 10_000, "{room}");
        }
    }

    /// A file on a disk with limited free space, bytes.
    struct Disk {
        file: File,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let more = bytes.len().min(self.room);
            self.room -= more;
            if more == 0 { Err(ErrorKind::StorageFull.into()) } else { self.file.write(&bytes[..more]) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_continues_after_a_full_disk_and_the_gap_is_counted() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("rows.csv");
        let mut output =
            Output::open(Destination::File(path.clone().into()), Arc::new(Account::new())).expect("it is ours");
        output.header(|line| line.extend(b"header\n")).expect("there is room");
        let file = output.file.as_ref().expect("it is a file").file.try_clone().expect("a descriptor");
        output.stream = Box::new(Disk { file, room: 2 * ROW + 3 });
        write_rows(&mut output, 5);
        assert!(matches!(output.state(), OutputState::Failed(error) if error.kind() == ErrorKind::StorageFull));
        assert_eq!(account(&output), (2, 3));
        let begun = Instant::now();
        let mut given = 5;
        while !matches!(output.state(), OutputState::Writing) {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is tried again");
            std::thread::sleep(Duration::from_millis(10));
            write_rows(&mut output, 1);
            given += 1;
        }
        write_rows(&mut output, 2);
        assert_eq!(account(&output), (5, given - 3), "each row is written or lost");
        let text = std::fs::read_to_string(&path).expect("it is there");
        let rows = ["row     0", "row     1", "row     0", "row     0", "row     1"];
        assert!(text.lines().eq(std::iter::once("header").chain(rows)), "{text}");
    }

    /// Names and contents of the files in a folder.
    fn files(folder: &std::path::Path) -> Vec<(String, String)> {
        let paths = folder.read_dir().expect("the folder is ours").map(|entry| entry.expect("a name").path());
        let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut files: Vec<_> =
            paths.map(|path| (name(&path), std::fs::read_to_string(&path).expect("it is ours"))).collect();
        files.sort();
        files
    }

    #[test]
    fn rows_continue_in_the_next_file_at_the_size_limit() {
        let folder = tempfile::tempdir().expect("there is room");
        let place =
            FileTarget { rotation: Some(Rotation::Bytes(2 * ROW as u64)), ..folder.path().join("x.csv").into() };
        let mut output = Output::open(Destination::File(place), Arc::new(Account::new())).expect("it is ours");
        output.header(|line| line.extend(b"header\n")).expect("there is room");
        for rows in [1, 2, 3, 1] {
            write_rows(&mut output, rows);
            let files = files(folder.path());
            assert!(files.iter().all(|(name, _)| name.starts_with(".x-") == name.ends_with(".csv.part")), "{files:?}");
        }
        output.finish();
        assert!(matches!(output.state(), OutputState::Writing));
        assert_eq!(account(&output), (7, 0));
        let files = files(folder.path());
        assert!(files.iter().all(|(name, _)| name.starts_with("x-") && name.ends_with(".csv")), "{files:?}");
        let mut lines: Vec<usize> = files.iter().map(|(_, text)| text.lines().count()).collect();
        lines.sort_unstable();
        assert_eq!(lines, [2, 4, 4], "each has a header: {files:?}");
        assert!(files.iter().all(|(_, text)| text.starts_with("header\nrow ")), "{files:?}");
    }

    #[test]
    fn a_file_without_rows_is_kept_if_it_is_the_only_one() {
        for (rows, expected) in [(0, "header\n"), (1, "header\nrow     0\n")] {
            let folder = tempfile::tempdir().expect("there is room");
            let place = FileTarget { rotation: Some(Rotation::Bytes(1)), ..folder.path().join("x.csv").into() };
            let mut output = Output::open(Destination::File(place), Arc::new(Account::new())).expect("it is ours");
            output.header(|line| line.extend(b"header\n")).expect("there is room");
            write_rows(&mut output, rows);
            output.finish();
            let files = files(folder.path());
            assert_eq!(files.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn only_files_are_rotated() {
        let place = FileTarget { rotation: Some(Rotation::Bytes(1)), ..PathBuf::from("/dev/null").into() };
        let error = Output::open(Destination::File(place), Arc::new(Account::new())).err().expect("it is a device");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_closed_pipe_is_an_error_except_for_standard_output() {
        let (mut output, _) = full(Destination::StandardOutput, 100, ErrorKind::BrokenPipe);
        write_rows(&mut output, 20);
        assert!(matches!(output.state(), OutputState::ReaderGone));
        let (mut output, _) = full(Destination::File("fifo".into()), 100, ErrorKind::BrokenPipe);
        write_rows(&mut output, 20);
        assert!(matches!(output.state(), OutputState::Failed(_)));
    }
}
