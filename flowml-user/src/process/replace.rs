//! Putting a file in the place of another, so that after a power loss one of the two is there, and whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Renames the written file `part` to `place`. Its bytes are on the disk before the rename, and the rename before this
/// returns: without the first a power loss can leave an empty file in the place of the old one.
///
/// # Errors
/// If the file system refuses; the file at `place` is then the old one or the new one.
pub fn replace(part: &Path, place: &Path) -> io::Result<()> {
    File::open(part)?.sync_all()?;
    fs::rename(part, place)?;
    sync_folder(place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // A folder may be writable and not readable, and some file systems cannot sync one: the file itself is whole.
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
    fn the_new_file_is_in_the_place_of_the_old_one() {
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
