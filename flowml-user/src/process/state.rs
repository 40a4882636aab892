//! A file with the state that one run leaves to the next: consecutive values, compressed, with a checksum of all.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::private;
use super::replace::replace;

/// The number of the layout and of the meaning of such files. A change of a stored type, or of a constant that is
/// stored with it, needs a new number.
pub(crate) const LAYOUT: u32 = 9;

/// The start of the first line. The number of the layout follows.
const NAME: &str = "flowml state ";

/// The longest first line, in bytes.
const LONGEST_LINE: u64 = 64;

/// The fastest level of zstd, because a file is written while a run ends.
const LEVEL: i32 = 1;

/// Binary logarithm of the largest window of the compression when reading, in bytes. Level 1 needs a sixteenth of it.
const MOST_WINDOW: u32 = 23;

/// Size of one read or write, in bytes.
const BUFFER: usize = 1 << 17;

/// An error of writing or using a state file.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is of another kind.
    #[error("expected a file that 'flowml run --state' wrote")]
    Foreign,
    /// Another version wrote the file.
    #[error("it has layout {0}; expected layout {LAYOUT}, which this version of flowml reads and writes")]
    OtherLayout(u32),
    /// There is no room for the contents of the file.
    #[error("{0}")]
    TooMuch(String),
    /// The file differs from what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Writes values to a file.
pub struct Writer<W: Write>(BufWriter<zstd::Encoder<'static, W>>);

impl<W: Write> Writer<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new(mut to: W) -> Result<Self, StateError> {
        writeln!(to, "{NAME}{LAYOUT}")?;
        let mut encoder = zstd::Encoder::new(to, LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self(BufWriter::with_capacity(BUFFER, encoder)))
    }

    /// Adds a value, with the members of structs without their names.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), StateError> {
        rmp_serde::encode::write(&mut self.0, value).map_err(|error| io::Error::other(last_cause(&error)).into())
    }

    /// Adds a value, with the members of structs under their names. Tagged enums are read by them.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn put_named<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), StateError> {
        rmp_serde::encode::write_named(&mut self.0, value).map_err(|error| io::Error::other(last_cause(&error)).into())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn finish(self) -> Result<W, StateError> {
        let encoder = self.0.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(encoder.finish()?)
    }
}

/// Reads the values of a file in the order in which they were written. The memory that it takes grows with the bytes
/// that were read, and not with a length that the file states.
pub struct Reader<R: Read>(BufReader<zstd::Decoder<'static, BufReader<R>>>);

impl<R: Read> Reader<R> {
    /// Opens a file.
    ///
    /// # Errors
    /// If [`Writer`] did not write it, or wrote it in another layout.
    pub fn new(from: R) -> Result<Self, StateError> {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        let layout = line.and_then(|line| line.strip_prefix(NAME)?.parse().ok()).ok_or(StateError::Foreign)?;
        if layout != LAYOUT {
            return Err(StateError::OtherLayout(layout));
        }
        let mut decoder = zstd::Decoder::with_buffer(from)?;
        decoder.window_log_max(MOST_WINDOW)?;
        Ok(Self(BufReader::with_capacity(BUFFER, decoder)))
    }

    /// Reads the next value.
    ///
    /// # Errors
    /// If there is none, or the file is damaged.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, StateError> {
        rmp_serde::from_read(&mut self.0).map_err(|error| StateError::Damaged(last_cause(&error)))
    }

    /// Skips the rest of the file, and verifies its checksum.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn skip(mut self) -> Result<(), StateError> {
        match io::copy(&mut self.0, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(error) => Err(StateError::Damaged(error.to_string())),
        }
    }

    /// Verifies that no values follow, and the checksum.
    ///
    /// # Errors
    /// If values follow, or the file is damaged.
    pub fn end(mut self) -> Result<(), StateError> {
        match self.0.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(StateError::Damaged("it continues after its end".to_owned())),
            Err(error) => Err(StateError::Damaged(error.to_string())),
        }
    }
}

/// Opens a file for reading. Does not wait for the writer of a FIFO.
///
/// # Errors
/// If the system refuses, if it is not a regular file, or for the reasons of [`Reader::new`].
pub(crate) fn open_file(path: &Path) -> Result<Reader<File>, StateError> {
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(without_waiting).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(StateError::Foreign);
    }
    Reader::new(file)
}

/// Writes a file, or replaces it, with permissions for its owner only. A file that cannot be completed is removed.
///
/// # Errors
/// If the system refuses.
pub(crate) fn write_file<T>(
    path: &Path,
    fill: impl FnOnce(&mut Writer<File>) -> Result<T, StateError>,
) -> Result<T, StateError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let write = || {
        let mut writer = Writer::new(private::fresh(partial, None)?)?;
        let filled = fill(&mut writer)?;
        writer.finish()?;
        replace(partial, path)?;
        Ok(filled)
    };
    write().inspect_err(|_| {
        // The reported error is that of writing, not that of the removal.
        let _ = fs::remove_file(partial);
    })
}

/// The innermost cause of an error of the codec.
fn last_cause(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    type Values = (f64, Vec<(u64, Option<String>)>, u128);

    fn values() -> Values {
        (f64::NAN, (0..10_000).map(|n| (n * n, (n % 3 == 0).then(|| n.to_string()))).collect(), u128::MAX / 7)
    }

    fn file() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).expect("memory");
        writer.put(&values()).expect("memory");
        writer.put_named(&1_u8).expect("memory");
        writer.finish().expect("memory")
    }

    fn read(bytes: &[u8]) -> Result<Values, StateError> {
        let mut reader = Reader::new(bytes)?;
        let values = reader.take()?;
        reader.take::<u8>()?;
        reader.end().map(|()| values)
    }

    #[test]
    fn values_are_read_as_they_were_written() {
        let (float, others, whole) = read(&file()).expect("as it was written");
        assert_eq!((float.to_bits(), others, whole), (values().0.to_bits(), values().1, values().2));
    }

    #[test]
    fn changed_and_missing_bytes_are_detected() {
        let whole = file();
        let first_line = whole.iter().position(|byte| *byte == b'\n').expect("a first line") + 1;
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_err(), "byte {at} of {}", whole.len());
            let error = read(&whole[..at]).expect_err("cut off");
            assert_eq!(matches!(error, StateError::Foreign), at < first_line, "{at}: {error}");
        }
        let error = read(&[&whole[..], &whole[first_line..]].concat()).expect_err("more follows");
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn files_of_another_layout_and_other_files_are_distinguished() {
        let text = |bytes: &[u8]| read(bytes).expect_err("none of ours").to_string();
        assert!(text(b"flowml state 99\nwhatever").contains("layout 99; expected layout"));
        for foreign in [&b""[..], b"PAR1", b"flowml state\n", &[0xff; 4096], b"flowml state 1"] {
            assert!(text(foreign).contains("'flowml run --state'"), "{foreign:?}");
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().expect("there is room");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("there is room");
        for path in [&fifo, folder.path()] {
            assert!(matches!(open_file(path), Err(StateError::Foreign)), "{}", path.display());
        }
    }

    #[test]
    fn a_stated_length_allocates_no_memory() {
        // An array of 2³² − 1 elements, all of which are missing.
        let mut writer = Writer::new(Vec::new()).expect("memory");
        writer.0.write_all(&[0xdd, 0xff, 0xff, 0xff, 0xff]).expect("memory");
        let bytes = writer.finish().expect("memory");
        let error = Reader::new(&bytes[..]).expect("a file").take::<Vec<[u64; 4]>>().expect_err("cut off");
        assert!(matches!(error, StateError::Damaged(_)), "{error}");
    }

    #[test]
    fn a_file_is_complete_or_the_previous_one_and_private() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("state");
        write_file(&path, |writer| writer.put(&1_u8)).expect("the folder is ours");
        let failed = write_file(&path, |writer| {
            writer.put(&2_u8)?;
            Err::<(), _>(StateError::Foreign)
        });
        assert!(failed.is_err());
        let mut reader = open_file(&path).expect("a file");
        assert_eq!(reader.take::<u8>().expect("as it was written"), 1);
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().expect("it is ours").count(), 1, "nothing is left of the other");
    }
}
