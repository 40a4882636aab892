//! A file or a folder of files, with its options.

use std::path::PathBuf;

use super::super::rotation::Rotation;
use super::error::TargetError;
use crate::process::private::Mode;

/// A file or a folder of files, and how files are created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    /// The path.
    pub path: PathBuf,
    /// The requested permissions; without them only the owner can read the files.
    pub mode: Option<Mode>,
    /// The requested rotation, if any.
    pub rotation: Option<Rotation>,
}

impl FileTarget {
    /// Whether a rotation into several files was requested.
    pub(in crate::export) fn rotates(&self) -> bool {
        self.rotation.is_some_and(Rotation::rotates)
    }

    /// Applies an option.
    fn with(mut self, name: &str, value: &str) -> Result<Self, TargetError> {
        let option = OPTIONS.iter().find(|option| option.name == name);
        let option = option.ok_or_else(|| unknown(name))?;
        let wrong = |expected| TargetError::Value { name: option.name, value: value.to_owned(), expected };
        if !(option.set)(&mut self, value).map_err(wrong)? {
            return Err(TargetError::Twice(option.name));
        }
        Ok(self)
    }
}

impl From<PathBuf> for FileTarget {
    fn from(path: PathBuf) -> Self {
        Self { path, mode: None, rotation: None }
    }
}

impl From<&str> for FileTarget {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

/// A file option and its name.
struct FileOption {
    name: &'static str,
    /// An example of its value.
    example: &'static str,
    /// Sets the value; false if it was set before. Fails with a description of valid values.
    set: fn(&mut FileTarget, &str) -> Result<bool, String>,
}

const OPTIONS: [FileOption; 2] = [
    FileOption { name: "rotate", example: "1h", set: |target, text| set(&mut target.rotation, text.parse()?) },
    FileOption { name: "mode", example: "0640", set: |target, text| set(&mut target.mode, text.parse()?) },
];

fn set<T>(place: &mut Option<T>, value: T) -> Result<bool, String> {
    Ok(place.replace(value).is_none())
}

/// Splits a path from its options. Options begin at the first comma that is followed by a name and `=`.
pub(super) fn path_and_options(text: &str) -> (&str, Option<&str>) {
    let is_option = |text: &str| {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_lowercase());
        rest.len() < text.len() && rest.starts_with('=')
    };
    let comma = text.match_indices(',').map(|(at, _)| at).find(|at| is_option(&text[at + 1..]));
    comma.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])))
}

/// Parses a path with its options.
pub(super) fn file_target(path: &str, options: Option<&str>) -> Result<FileTarget, TargetError> {
    options.into_iter().flat_map(|options| options.split(',')).try_fold(path.into(), |target: FileTarget, option| {
        let (name, value) = option.split_once('=').ok_or_else(|| unknown(option))?;
        target.with(name, value)
    })
}

/// An option that does not exist.
fn unknown(option: &str) -> TargetError {
    let valid = OPTIONS.map(|FileOption { name, example, .. }| format!("{name}={example}")).join(",");
    TargetError::Option { option: option.to_owned(), valid }
}
