//! A file that has a temporary name until it is complete.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use super::rotation;
use crate::process::private::{self, Mode};
use crate::process::replace::replace;

/// The suffix of the name of an incomplete file.
const ENDING: &str = ".part";

/// The temporary and the final name of a file.
#[derive(Debug)]
pub(super) struct PartFile {
    part: PathBuf,
    place: PathBuf,
}

impl PartFile {
    /// Opens a file that gets the name `place` when it is complete, and replaces a file of that name.
    pub(super) fn of_run(place: PathBuf, mode: Option<Mode>) -> io::Result<(Self, File)> {
        let mut part = place.clone().into_os_string();
        part.push(ENDING);
        let part = PathBuf::from(part);
        let file = private::fresh(&part, mode)?;
        Ok((Self { part, place }, file))
    }

    /// Opens a file that is named by its start time when it is complete, and replaces no other file. Its temporary name
    /// begins with a dot, as readers of data sets treat all other files as complete, whatever their extension.
    pub(super) fn of_time(place: &Path, begun: SystemTime, mode: Option<Mode>) -> io::Result<(Self, File)> {
        for number in 0.. {
            let place = rotation::name(place, begun, number);
            let mut name = OsString::from(".");
            name.push(place.file_name().unwrap_or_default());
            name.push(ENDING);
            let part = place.with_file_name(name);
            if place.try_exists()? {
                continue;
            }
            match private::new(&part, mode) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                opened => {
                    let file = opened?;
                    // A file that cannot be locked is never recognised as left over from a killed run.
                    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
                    return Ok((Self { part, place }, file));
                }
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// The temporary path.
    pub(super) fn path(&self) -> &Path {
        &self.part
    }

    /// Completes the file. It is on the disk and has its final name when this returns.
    pub(super) fn finish(&self) -> io::Result<()> {
        replace(&self.part, &self.place)
    }

    /// Removes the incomplete file.
    pub(super) fn discard(&self) {
        // If this fails, the name still shows that the file is incomplete.
        let _ = fs::remove_file(&self.part);
    }
}

/// Removes files of [`PartFile::of_time`] with this extension that no process writes: they are left over from killed runs.
pub(super) fn remove_left(folder: &Path, extension: &str) -> io::Result<()> {
    let ending = format!(".{extension}{ENDING}");
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') && name.ends_with(&ending) {
            let is_left = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if File::open(&path).is_ok_and(|file| is_left(&file)) {
                fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = folder.read_dir().expect("the folder is ours").map(|entry| entry.expect("a name").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("ours are text")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_gets_its_name_when_complete_and_replaces_no_other() {
        let folder = tempfile::tempdir().expect("there is room");
        let place = folder.path().join("flows.parquet");
        let begin = || PartFile::of_time(&place, SystemTime::UNIX_EPOCH, None).expect("the folder is ours");
        let (one, mut file) = begin();
        file.write_all(b"x").expect("there is room");
        let (two, _) = begin();
        assert_eq!(
            names(folder.path()),
            [".flows-19700101T000000Z.parquet.part", ".flows-19700101T000000Z_1.parquet.part"]
        );
        one.finish().expect("the folder is ours");
        two.finish().expect("the folder is ours");
        let (three, _) = begin();
        three.discard();
        assert_eq!(names(folder.path()), ["flows-19700101T000000Z.parquet", "flows-19700101T000000Z_1.parquet"]);
        assert_eq!(fs::read(folder.path().join("flows-19700101T000000Z.parquet")).expect("it is complete"), b"x");
    }

    #[test]
    fn files_of_killed_runs_are_removed_and_open_files_are_not() {
        let folder = tempfile::tempdir().expect("there is room");
        let place = folder.path().join("flows.parquet");
        let (_part, file) = PartFile::of_time(&place, SystemTime::UNIX_EPOCH, None).expect("the folder is ours");
        for name in [".left.parquet.part", "other.parquet.part", ".rows.csv.part"] {
            fs::write(folder.path().join(name), "").expect("there is room");
        }
        remove_left(folder.path(), "parquet").expect("the folder is ours");
        let others = [".rows.csv.part", "other.parquet.part"];
        assert_eq!(names(folder.path()), [&[".flows-19700101T000000Z.parquet.part"], &others[..]].concat());
        drop(file);
        remove_left(folder.path(), "parquet").expect("the folder is ours");
        assert_eq!(names(folder.path()), others);
    }
}
