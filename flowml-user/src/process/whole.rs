//! Reading complete files into memory, up to a stated length.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Reads the bytes of a file.
///
/// # Errors
/// If the file cannot be read, or is longer than `longest` bytes.
pub fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {longest} bytes, the limit")));
    }
    Ok(bytes)
}

/// Reads the text of a file.
///
/// # Errors
/// If the file cannot be read, is longer than `longest` bytes, or is not UTF-8.
pub fn read_text(path: &Path, longest: u64) -> io::Result<String> {
    String::from_utf8(read(path, longest)?)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("it is not UTF-8: {}", error.utf8_error())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_longest_length() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").expect("there is room");
        assert_eq!(read_text(&path, 3).expect("it is as long"), "abc");
        let error = read(&path, 2).expect_err("it is longer");
        assert_eq!(error.to_string(), "it is longer than 2 bytes, the limit");
        assert!(read(Path::new("/dev/zero"), 1 << 16).is_err(), "what has no end");
        std::fs::write(&path, [b'a', 0xff]).expect("there is room");
        assert!(read_text(&path, 9).expect_err("it is none").to_string().contains("not UTF-8"));
    }
}
