//! A file or standard output that rows are written to, and the account of those that could not be.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::Account;
use super::backoff::Backoff;
use super::files::Files;
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
    /// It could not be written; rows are lost, and counted, until it can be again.
    Failed(io::Error),
}

/// A destination with a buffer of whole rows.
pub(super) struct Output {
    destination: Destination,
    stream: Box<dyn Write + Send>,
    buffer: Vec<u8>,
    state: State,
    account: Arc<Account>,
    /// What stands before the rows of a file.
    header: Vec<u8>,
    /// The file, where it is one that can be opened again.
    file: Option<Reopened>,
}

/// A file that is opened again where it could not be written.
struct Reopened {
    files: Files,
    /// What is written to, where a part of a row is cut off.
    file: File,
    /// When the next attempt is due, while it cannot be written.
    backoff: Option<Backoff>,
}

impl Output {
    /// Opens the destination; a file is truncated. This waits for the reader of a FIFO.
    pub(super) fn open(destination: Destination, account: Arc<Account>) -> io::Result<Self> {
        let target = match &destination {
            // Not `stdout()`, which would write each row by itself.
            Destination::StandardOutput => return Ok(Self::over(destination, Box::new(duplicate_stdout()?), account)),
            Destination::File(target) => target.clone(),
        };
        let (files, file) = account.wait_in(|| Files::open(target))?;
        let stream = Box::new(file.try_clone()?);
        Ok(Self { file: Some(Reopened { files, file, backoff: None }), ..Self::over(destination, stream, account) })
    }

    /// An output to a stream that is already open.
    pub(super) fn over(destination: Destination, stream: Box<dyn Write + Send>, account: Arc<Account>) -> Self {
        let buffer = Vec::with_capacity(PIECE + PIECE / 4);
        Self { destination, stream, buffer, state: State::Writing, account, header: Vec::new(), file: None }
    }

    /// Writes what stands before the rows and is none.
    pub(super) fn header(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.header);
        match self.account.wait_in(|| self.stream.write_all(&self.header)) {
            Err(error) if self.is_reader_gone(&error) => self.state = State::ReaderGone,
            written => written?,
        }
        Ok(())
    }

    /// Takes the row that `write` appends to the buffer. The row must end with its only line feed.
    pub(super) fn row(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let is_writing = matches!(self.state, State::Writing);
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

    /// Ends the output: a file that was not to have its name before is whole.
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Some(file) = &mut self.file
            && let Err(error) = self.account.wait_in(|| file.files.finish())
        {
            self.fail(error, 0);
        }
    }

    /// Goes on in the next file, where it is time for that.
    fn rotate(&mut self) {
        let Some(file) = &mut self.file else { return };
        if let Some(next) = self.account.wait_in(|| file.files.rotate())
            && let Err(error) = next.and_then(|next| self.go_on(next))
        {
            self.fail(error, 0);
        }
    }

    /// Counts the rows that are not wholly in the first `written` bytes of the buffer as lost.
    fn fail(&mut self, error: io::Error, written: usize) {
        self.account.add_lost(rows_in(&self.buffer[written..]));
        let whole = self.buffer[..written].iter().rposition(|byte| *byte == ROW_END).map_or(0, |end| end + 1);
        if let Some(Reopened { file, backoff, .. }) = &mut self.file {
            // A part of a row would make the next one unreadable. A disk that refuses this as well keeps the part.
            let _ = self.account.wait_in(|| cut(file, (written - whole) as u64));
            backoff.get_or_insert_with(|| Backoff::begin(Instant::now()));
        }
        self.buffer = Vec::new();
        self.state = if self.is_reader_gone(&error) { State::ReaderGone } else { State::Failed(error) };
    }

    /// Whether a file that could not be written is to be tried again.
    fn is_due(&mut self) -> bool {
        let backoff = self.file.as_mut().and_then(|file| file.backoff.as_mut());
        backoff.is_some_and(|backoff| backoff.is_due(Instant::now()))
    }

    /// Opens the file again, and writes the row that is in the buffer.
    fn try_again(&mut self) {
        match self.reopen() {
            Ok(()) => {
                self.state = State::Writing;
                self.flush();
            }
            Err(error) => self.fail(error, 0),
        }
        if matches!(self.state, State::Writing)
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

    /// Goes on at the end of this file.
    fn go_on(&mut self, mut file: File) -> io::Result<()> {
        if file.metadata()?.len() == 0 {
            let written = self.account.wait_in(|| file.write_all(&self.header));
            // A part of it would not be noticed at the next attempt.
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

/// Takes so many bytes off the end of a file; what is no regular file has no end.
fn cut(file: &File, bytes: u64) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.is_file() && bytes > 0 { file.set_len(metadata.len().saturating_sub(bytes)) } else { Ok(()) }
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
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::super::rotation::Rotation;
    use super::super::target::FileTarget;
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

    /// A file on a disk that has room for so many bytes more.
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
    fn a_file_is_written_again_when_there_is_room_and_the_gap_is_counted() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("rows.csv");
        let mut output =
            Output::open(Destination::File(path.clone().into()), Arc::new(Account::new())).expect("it is ours");
        output.header(|line| line.extend(b"header\n")).expect("there is room");
        let file = output.file.as_ref().expect("it is a file").file.try_clone().expect("a descriptor");
        output.stream = Box::new(Disk { file, room: 2 * ROW + 3 });
        write_rows(&mut output, 5);
        assert!(matches!(output.state(), State::Failed(error) if error.kind() == ErrorKind::StorageFull));
        assert_eq!(account(&output), (2, 3));
        let begun = Instant::now();
        let mut given = 5;
        while !matches!(output.state(), State::Writing) {
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

    /// Names and texts of the files in a folder.
    fn files(folder: &std::path::Path) -> Vec<(String, String)> {
        let paths = folder.read_dir().expect("the folder is ours").map(|entry| entry.expect("a name").path());
        let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut files: Vec<_> =
            paths.map(|path| (name(&path), std::fs::read_to_string(&path).expect("it is ours"))).collect();
        files.sort();
        files
    }

    #[test]
    fn rows_go_on_in_the_next_file_when_one_is_large() {
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
        assert!(matches!(output.state(), State::Writing));
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
    fn what_is_no_file_is_not_rotated() {
        let place = FileTarget { rotation: Some(Rotation::Bytes(1)), ..PathBuf::from("/dev/null").into() };
        let error = Output::open(Destination::File(place), Arc::new(Account::new())).err().expect("it is a device");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
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
