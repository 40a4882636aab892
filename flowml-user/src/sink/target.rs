//! What `-o` names: a kind of output and where it goes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A kind of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line: flows, hosts, anomalies, and the summary at the end.
    Jsonl,
    /// Comma-separated flow rows under a header.
    Csv,
    /// A folder with a Parquet file each for flows, hosts and anomalies.
    Parquet,
}

impl Format {
    /// Every kind, with the name that `-o` knows it by.
    pub const ALL: [(&str, Self); 3] = [("jsonl", Self::Jsonl), ("csv", Self::Csv), ("parquet", Self::Parquet)];

    /// What stands behind the `=`.
    const fn place(self) -> &'static str {
        match self {
            Self::Jsonl | Self::Csv => "PATH",
            Self::Parquet => "DIR",
        }
    }
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, written `-`.
    StandardOutput,
    /// A file, made anew, or a folder.
    File(PathBuf),
}

impl Destination {
    /// Whether both lead to the same place: the same file may be written in two ways.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::StandardOutput, Self::StandardOutput) => true,
            (Self::File(one), Self::File(two)) => resolved(one) == resolved(two),
            _ => false,
        }
    }
}

/// The path with its folder's links followed; the file itself need not exist yet.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardOutput => f.write_str("standard output"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// One `-o KIND=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is written.
    pub format: Format,
    /// Where to.
    pub destination: Destination,
}

/// Why an `-o` means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// There is no `=` in it.
    #[error("expected {}, as in jsonl=flows.jsonl; PATH '-' is standard output", grammar())]
    Grammar,
    /// The part before `=` is no [`Format`].
    #[error("there is no output kind '{0}'; expected {grammar}", grammar = grammar())]
    Kind(String),
    /// The part behind `=` is empty.
    #[error("expected a path behind '{0}=', or '-' for standard output")]
    Path(String),
    /// The part behind `=` names no folder.
    #[error("expected a folder behind 'parquet=', as in parquet=flows: it takes several files")]
    Folder,
}

/// All that `-o` takes: `jsonl=PATH, csv=PATH or parquet=DIR`.
#[must_use]
pub fn grammar() -> String {
    let all = Format::ALL.map(|(name, format)| format!("{name}={}", format.place()));
    let [first @ .., last] = &all;
    format!("{} or {last}", first.join(", "))
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (kind, path) = text.split_once('=').ok_or(TargetError::Grammar)?;
        let found = Format::ALL.into_iter().find(|(name, _)| *name == kind);
        let (_, format) = found.ok_or_else(|| TargetError::Kind(kind.to_owned()))?;
        let destination = match path {
            "" | "-" if format == Format::Parquet => return Err(TargetError::Folder),
            "" => return Err(TargetError::Path(kind.to_owned())),
            "-" => Destination::StandardOutput,
            path => Destination::File(path.into()),
        };
        Ok(Self { format, destination })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_kind_and_a_path() {
        let file = |path: &str| Destination::File(path.into());
        let cases = [
            ("jsonl=-", Format::Jsonl, Destination::StandardOutput),
            ("csv=flows.csv", Format::Csv, file("flows.csv")),
            ("csv=a=b", Format::Csv, file("a=b")),
            ("parquet=flows", Format::Parquet, file("flows")),
            ("jsonl=./-", Format::Jsonl, file("./-")),
        ];
        for (text, format, destination) in cases {
            assert_eq!(text.parse(), Ok(Target { format, destination }), "{text}");
        }
    }

    #[test]
    fn a_wrong_target_is_told_what_was_expected() {
        let cases = [
            (
                "flows.csv",
                "expected jsonl=PATH, csv=PATH or parquet=DIR, as in jsonl=flows.jsonl; PATH '-' is standard output",
            ),
            ("xml=a", "there is no output kind 'xml'; expected jsonl=PATH, csv=PATH or parquet=DIR"),
            ("parquet=-", "expected a folder behind 'parquet=', as in parquet=flows: it takes several files"),
            ("csv=", "expected a path behind 'csv=', or '-' for standard output"),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Target>().map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn two_spellings_of_a_path_are_the_same_destination() {
        let file = |path: &str| Destination::File(path.into());
        let folder = std::env::temp_dir();
        let spelt = |name: &str| folder.join(name).display().to_string();
        assert!(file(&spelt("x.csv")).is_same(&file(&spelt("./x.csv"))));
        assert!(file("x.csv").is_same(&file("./x.csv")));
        assert!(!file(&spelt("x.csv")).is_same(&file(&spelt("y.csv"))));
        assert!(!file("-").is_same(&Destination::StandardOutput));
    }
}
