//! Creating files that only their owner can read and write, unless other permissions are requested.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

/// Permissions of a new file if none are requested. The umask removes further ones.
const PRIVATE: u32 = 0o600;

/// The largest permissions that can be requested. Data files are not executable.
const READ_AND_WRITE: u32 = 0o666;

/// Requested permissions of a file. They apply whatever the umask is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let bits = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| u32::from_str_radix(text, 8).ok()).flatten();
        let mode = bits.filter(|bits| bits & PRIVATE == PRIVATE && bits & !READ_AND_WRITE == 0);
        mode.map(Self).ok_or("octal permissions that let the owner read and write, as in mode=0640")
    }
}

/// Opens a file for writing from its start. An existing file keeps its permissions if no `mode` is requested.
///
/// # Errors
/// If the system refuses, or refuses the permissions.
pub fn create(path: &Path, mode: Option<Mode>) -> io::Result<File> {
    open(OpenOptions::new().write(true).create(true).truncate(true), path, mode)
}

/// Opens a file for writing at its end. Permissions are those of [`create`].
///
/// # Errors
/// If the system refuses, or refuses the permissions.
pub fn append(path: &Path, mode: Option<Mode>) -> io::Result<File> {
    open(OpenOptions::new().append(true).create(true), path, mode)
}

/// Creates a new file and replaces an existing one, whose permissions and links do not matter.
///
/// # Errors
/// If the system refuses, or refuses the permissions.
pub(crate) fn fresh(path: &Path, mode: Option<Mode>) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    new(path, mode)
}

/// Creates a file that must not exist yet.
///
/// # Errors
/// If the file exists, or the system refuses to create it or to set the permissions.
pub fn new(path: &Path, mode: Option<Mode>) -> io::Result<File> {
    open(OpenOptions::new().write(true).create_new(true), path, mode)
}

/// Writes a complete file. An existing file keeps its permissions.
///
/// # Errors
/// If the system refuses.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    create(path, None)?.write_all(bytes.as_ref())
}

fn open(options: &mut OpenOptions, path: &Path, mode: Option<Mode>) -> io::Result<File> {
    let file = options.mode(PRIVATE).open(path)?;
    if let Some(Mode(bits)) = mode
        // The permissions of a pipe or a device are not changed.
        && file.metadata()?.is_file()
    {
        file.set_permissions(Permissions::from_mode(bits))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_private_unless_a_mode_is_requested() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = |name: &str| folder.path().join(name);
        let mode = |text: &str| Some(text.parse().expect("a mode"));
        write(&path("a"), "x").expect("the folder is ours");
        assert_eq!(bits(&path("a")), 0o600);
        fs::set_permissions(path("a"), Permissions::from_mode(0o644)).expect("it is ours");
        write(&path("a"), "y").expect("it is ours");
        assert_eq!(bits(&path("a")), 0o644, "an existing file keeps its permissions");
        drop(append(&path("a"), mode("640")).expect("it is ours"));
        assert_eq!((bits(&path("a")), fs::read(path("a")).expect("it is ours")), (0o640, b"y".to_vec()));
        drop(create(&path("b"), mode("0666")).expect("the folder is ours"));
        assert_eq!(bits(&path("b")), 0o666, "whatever the umask");
        drop(fresh(&path("b"), None).expect("the folder is ours"));
        assert_eq!(bits(&path("b")), 0o600, "it is a new file");
        drop(create(Path::new("/dev/null"), mode("0600")).expect("everybody may write to it"));
        assert_eq!(bits(Path::new("/dev/null")), 0o666, "a device keeps its permissions");
    }

    #[test]
    fn modes_are_permissions_of_data() {
        for text in ["0600", "600", "0640", "644", "0666"] {
            assert!(text.parse::<Mode>().is_ok(), "{text}");
        }
        for text in ["", "0400", "0755", "1600", "rw", "0o640", "-600", "+640", "888", "99999999999"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }
}
