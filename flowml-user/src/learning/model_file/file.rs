//! Writes and reads model files: JSON with a human-readable first part.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use serde::Serialize;

use crate::process::private;
use crate::process::replace::replace;
use crate::process::whole;

/// The largest model file, bytes: enough for a hundred trees with many thousand nodes.
const LONGEST: u64 = 256 << 20;

/// Reads a file of at most [`LONGEST`] bytes.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    whole::read(path, LONGEST)
}

/// Checks that a file with this text can be read again.
pub(crate) fn check_length(text: &str) -> io::Result<()> {
    match text.len() as u64 {
        ..=LONGEST => Ok(()),
        longer => Err(io::Error::new(
            ErrorKind::FileTooLarge,
            format!("the model has {longer} bytes: expected at most {LONGEST}; train on fewer rows"),
        )),
    }
}

/// A JSON object in lines, whose last member is in one line, because it consists of numbers only.
pub(crate) fn lines_and(header: &impl Serialize, last: &str, value: &impl Serialize) -> serde_json::Result<String> {
    let header = serde_json::to_string_pretty(header)?;
    let header = header.strip_suffix("\n}").expect("an object in lines ends so");
    Ok(format!("{header},\n  \"{last}\": {}\n}}", serde_json::to_string(value)?))
}

/// Writes a file under another name and then renames it: a reader sees the old file or the new one, also after a power
/// loss. A file that could not be written completely is removed. A new file is private, and an existing one keeps its
/// permissions.
pub(crate) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
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
        // The reported error is that of writing.
        let _ = fs::remove_file(partial);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_file_is_private_and_existing_permissions_stay() {
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
