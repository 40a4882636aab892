//! The credentials in a file. They appear in no message.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::process::whole;

/// The longest file of credentials, bytes.
const LONGEST: u64 = 64 << 10;

/// The one line of a file of credentials.
pub(super) struct Credentials(String);

impl Credentials {
    /// Reads the file. White space around the line does not belong to it.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let wrong = |kind, why: &str| io::Error::new(kind, format!("the credentials {}: {why}", path.display()));
        let text = whole::read_text(path, LONGEST).map_err(|error| wrong(ErrorKind::Other, &error.to_string()))?;
        let line = text.trim();
        if line.is_empty() || line.lines().count() > 1 {
            return Err(wrong(ErrorKind::InvalidData, "expected one line"));
        }
        Ok(Self(line.to_owned()))
    }

    /// The text before the first colon, and the text after it. `None` without a colon.
    pub(super) fn pair(&self) -> Option<(&str, &str)> {
        self.0.split_once(':')
    }

    /// The line.
    pub(super) fn line(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_has_one_line_and_errors_do_not_repeat_it() {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("credentials");
        let read = |text: &str| {
            fs::write(&path, text).expect("there is room");
            Credentials::read(&path).map_err(|error| error.to_string())
        };
        let credentials = read(" me:sec:ret\n").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((credentials.pair(), credentials.line()), (Some(("me", "sec:ret")), "me:sec:ret"));
        assert_eq!(read("token").unwrap_or_else(|error| panic!("{error}")).pair(), None);
        for text in ["", "\n", "me\nsecret"] {
            let error = read(text).err().expect("no line");
            assert!(error.ends_with("credentials: expected one line") && !error.contains("secret"), "{error}");
        }
        let missing = Credentials::read(&folder.path().join("none")).err().expect("there is none").to_string();
        assert!(missing.contains("none: ") && missing.contains("No such file"), "{missing}");
    }
}
