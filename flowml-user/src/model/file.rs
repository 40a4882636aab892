//! How model files are written: JSON of which people can read the first part.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use crate::process::private;
use crate::process::replace::replace;
use crate::process::whole;

/// The longest model file, bytes: a hundred trees of many thousand nodes have room.
const LONGEST: u64 = 256 << 20;

/// Reads a file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    whole::read(path, LONGEST)
}

/// Whether a file of this text can be read again.
pub(super) fn check_length(text: &str) -> io::Result<()> {
    match text.len() as u64 {
        ..=LONGEST => Ok(()),
        longer => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("the model has {longer} bytes: expected at most {LONGEST}; learn from fewer rows"),
        )),
    }
}

/// An object in lines, with a last member in one line: what was learnt is numbers that nobody reads.
pub(super) fn lines_and(header: &impl Serialize, last: &str, value: &impl Serialize) -> serde_json::Result<String> {
    let header = serde_json::to_string_pretty(header)?;
    let header = header.strip_suffix("\n}").expect("an object in lines ends so");
    Ok(format!("{header},\n  \"{last}\": {}\n}}", serde_json::to_string(value)?))
}

/// Writes a file by way of a neighbour that is then renamed: a reader sees the old file or the new one, after a power
/// loss too. What cannot be written whole is removed. A new file is private, and one that was there keeps its permissions.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let write = || {
        let mut file = private::fresh(partial, None)?;
        if let Ok(before) = path.metadata() {
            file.set_permissions(before.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        replace(partial, path)
    };
    write().inspect_err(|_| {
        // The error that is reported is why it was not written.
        let _ = fs::remove_file(partial);
    })
}

/// FNV-1a (64 bit) over texts, each ended by a zero byte: tells tables of columns apart at a glance, and is no protection
/// against someone who edits the file.
pub(super) fn hash<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let bytes = texts.flat_map(|text| text.bytes().chain([0]));
    let fnv = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{fnv:016x}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_file_is_private_and_permissions_that_were_given_stay() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("model.json");
        let bits = || path.metadata().expect("it is there").permissions().mode() & 0o777;
        write_whole(&path, "one").expect("the folder is ours");
        assert_eq!(bits(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        write_whole(&path, "two").expect("the folder is ours");
        assert_eq!((bits(), fs::read_to_string(&path).expect("it is ours").as_str()), (0o640, "two"));
    }
}
