//! Writes an archive that the kernel unpacks as its first file system.
//!
//! The format is cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Kinds of files (`stat.h`).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// The name of the last entry.
const END: &str = "TRAILER!!!";

/// An archive that is being written. All paths are absolute, all files belong to root, and each path occurs once.
pub(super) struct Archive<W> {
    to: W,
    entries: u32,
    there: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    pub(super) const fn new(to: W) -> Self {
        Self { to, entries: 0, there: BTreeSet::new() }
    }

    /// Adds a folder that every user may read, with its parents.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<()> {
        self.folder_for(path, 0o755)
    }

    /// Adds a folder with other permissions.
    pub(super) fn folder_for(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.above(path)?;
        self.once(path, DIRECTORY | mode, &[])
    }

    /// Adds a file that every user may read and execute.
    pub(super) fn file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.above(path)?;
        self.once(path, FILE | 0o755, bytes)
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, path: &Path, to: &str) -> io::Result<()> {
        self.above(path)?;
        self.once(path, LINK | 0o777, to.as_bytes())
    }

    /// Ends the archive. Returns the writer.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.entry(END, 0, &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    /// Whether the path is in the archive.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.there.contains(path)
    }

    fn above(&mut self, path: &Path) -> io::Result<()> {
        match path.parent().filter(|folder| folder.parent().is_some()) {
            Some(folder) => self.folder(folder),
            None => Ok(()),
        }
    }

    fn once(&mut self, path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
        if !self.there.insert(path.to_owned()) {
            return Ok(());
        }
        let name = path.to_str().map(|path| path.trim_start_matches('/'));
        let name = name.ok_or_else(|| io::Error::other(format!("{}: expected a path in UTF-8", path.display())))?;
        self.entry(name, mode, bytes)
    }

    /// An entry: thirteen numbers of eight hexadecimal digits, the name with a zero byte, and the bytes. Name and bytes
    /// are padded to multiples of four.
    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let too_long = |_| io::Error::other(format!("{name}: expected less than 4 GiB"));
        let length = u32::try_from(bytes.len()).map_err(too_long)?;
        let (own, links, time, device, check) = (0, 1, 0, 0, 0);
        let name_length = name.len() as u32 + 1;
        let numbers =
            [self.entries, mode, own, own, links, time, length, device, device, device, device, name_length, check];
        write!(self.to, "070701")?;
        numbers.iter().try_for_each(|number| write!(self.to, "{number:08X}"))?;
        write!(self.to, "{name}\0")?;
        self.pad(6 + 13 * 8 + name.len() + 1)?;
        self.to.write_all(bytes)?;
        self.pad(bytes.len())
    }

    fn pad(&mut self, length: usize) -> io::Result<()> {
        self.to.write_all(&[0; 3][..length.next_multiple_of(4) - length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_their_files_and_each_path_once() -> io::Result<()> {
        let mut archive = Archive::new(Vec::new());
        archive.link(Path::new("/bin"), "usr/bin")?;
        archive.file(Path::new("/usr/bin/sh"), b"shell")?;
        archive.file(Path::new("/usr/bin/ip"), b"")?;
        archive.file(Path::new("/usr/bin/ip"), b"another")?;
        archive.folder_for(Path::new("/tmp"), 0o1777)?;
        assert!(archive.has(Path::new("/usr/bin")) && !archive.has(Path::new("/usr/sbin")));
        let bytes = archive.end()?;
        assert_eq!(bytes.len() % 4, 0);
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let text = |from: usize, length: usize| String::from_utf8_lossy(&bytes[from..from + length]).into_owned();
            let number = |n: usize| u32::from_str_radix(&text(at + 6 + n * 8, 8), 16).expect("a number");
            assert_eq!(text(at, 6), "070701");
            let (length, name) = (number(6) as usize, number(11) as usize);
            let behind = (at + 110 + name).next_multiple_of(4);
            entries.push(format!("{:o} {} {}", number(1), text(at + 110, name - 1), text(behind, length)));
            at = (behind + length).next_multiple_of(4);
        }
        let expected = [
            "120777 bin usr/bin",
            "40755 usr ",
            "40755 usr/bin ",
            "100755 usr/bin/sh shell",
            "100755 usr/bin/ip ",
            "41777 tmp ",
            "0 TRAILER!!! ",
        ];
        assert_eq!(entries, expected);
        Ok(())
    }
}
