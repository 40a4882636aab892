//! Replacing a file so that after a power loss the old or the new one exists, and is complete.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Renames the written file `part` to `place`. The bytes are on the disk before the rename, and the rename is on the
/// disk when this returns. Without the first, a power loss could leave an empty file instead of the old one.
///
/// # Errors
/// If the file system refuses. The file at `place` is then the old one or the new one.
pub(crate) fn replace(part: &Path, place: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    fs::rename(part, place)?;
    sync_folder(place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // The folder may be writable but not readable, and some file systems cannot sync a folder. The file itself is
        // complete.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().expect("there is room");
        let (part, place) = (folder.path().join("a.part"), folder.path().join("a"));
        fs::write(&place, "old").expect("there is room");
        assert!(replace(&part, &place).is_err(), "there is no new file");
        assert_eq!(fs::read_to_string(&place).expect("it stays"), "old");
        fs::write(&part, "new").expect("there is room");
        replace(&part, &place).expect("the folder is ours");
        assert_eq!(fs::read_to_string(&place).expect("it is there"), "new");
        assert!(!part.exists());
    }
}
