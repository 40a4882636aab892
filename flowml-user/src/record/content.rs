//! The columns derived from the first payload bytes of a flow. The bytes themselves are in no output.

use std::fmt;
use std::str::FromStr;

use flowml_common::flow::Sender;
use regex::bytes::{Regex, RegexSet};

use super::application::Application;
use crate::session::{Contents, Ended};

/// Statistics of the first payload bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirstPayload {
    /// Number of kept bytes.
    pub bytes: u64,
    /// Shannon entropy of the byte values, in bits per byte, 0 to 8. NaN without bytes.
    pub entropy: f64,
    /// Ratio of visible ASCII, spaces, tabs and line ends, 0 to 1. NaN without bytes.
    pub printable_share: f64,
}

impl FirstPayload {
    fn of(bytes: &[u8]) -> Self {
        let mut counts = [0_u16; 256];
        bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        let all = bytes.len() as f64;
        let shares = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / all);
        let entropy = shares.map(|share| share * share.recip().log2()).sum::<f64>();
        let printable = bytes.iter().filter(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')).count();
        Self {
            bytes: bytes.len() as u64,
            entropy: if bytes.is_empty() { f64::NAN } else { entropy },
            printable_share: printable as f64 / all,
        }
    }
}

/// The columns derived from the content of a flow.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// The values of the initiator's first payload.
    pub src2dst: FirstPayload,
    /// The values of the responder's first payload.
    pub dst2src: FirstPayload,
    /// The application, if it is recognised.
    pub application: Option<Application>,
    /// The names of the columns of all patterns.
    pub match_columns: &'static [&'static str],
    /// Bit n is set if pattern n matches the payload of either direction.
    pub matched: u64,
}

/// Prefix of the column names of patterns.
pub(crate) const MATCH_PREFIX: &str = "match_";

/// A pattern: the value of `--match NAME=REGEX`.
#[derive(Clone, Debug)]
pub struct Pattern {
    name: String,
    regex: Regex,
}

/// The longest name of a pattern, in bytes.
const LONGEST_NAME: usize = 32;

/// The most memory that a compiled pattern may take, in bytes.
const LARGEST_PATTERN: usize = 1 << 20;

/// An error in a value of `--match`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It contains no `=`.
    #[error("expected NAME=REGEX, as in sql='(?i)union +select'")]
    Grammar,
    /// The name cannot be the name of a column.
    #[error("'{0}' is not a valid name: expected 1 to {LONGEST_NAME} of a-z, 0-9 and _")]
    Name(String),
    /// The regular expression is invalid.
    #[error("'{regex}' is not a valid regular expression: {reason}")]
    Regex {
        /// The given expression.
        regex: String,
        /// The error of the parser.
        reason: String,
    },
}

impl Pattern {
    /// The name of its column, without `match_`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (name, regex) = text.split_once('=').ok_or(PatternError::Grammar)?;
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(is_plain) {
            return Err(PatternError::Name(name.to_owned()));
        }
        let compiled = regex::bytes::RegexBuilder::new(regex).size_limit(LARGEST_PATTERN).build();
        let regex =
            compiled.map_err(|error| PatternError::Regex { regex: regex.to_owned(), reason: reason(&error) })?;
        Ok(Self { name: name.to_owned(), regex })
    }
}

/// The error in a regular expression, without the drawing that shows its position.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Derives the columns from the content of flows.
#[derive(Clone)]
pub struct Inspector {
    patterns: RegexSet,
    columns: &'static [&'static str],
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an inspector for {:?}", self.columns)
    }
}

impl Inspector {
    /// The largest number of patterns.
    pub const MAX_PATTERNS: usize = u64::BITS as usize;

    /// An inspector for these patterns. There must be at most [`MAX_PATTERNS`](Self::MAX_PATTERNS).
    ///
    /// The names of their columns stay in memory until the program ends, as those of all columns do.
    ///
    /// # Errors
    /// If the patterns are too large together.
    pub fn new(patterns: &[Pattern]) -> Result<Self, regex::Error> {
        let set = regex::bytes::RegexSetBuilder::new(patterns.iter().map(|pattern| pattern.regex.as_str()))
            .size_limit(LARGEST_PATTERN * Self::MAX_PATTERNS)
            .build()?;
        let columns: Vec<&str> = patterns
            .iter()
            .map(|pattern| &*format!("{MATCH_PREFIX}{}", pattern.name).leak())
            .take(Self::MAX_PATTERNS)
            .collect();
        Ok(Self { patterns: set, columns: columns.leak() })
    }

    /// The names of the columns of the patterns.
    #[must_use]
    pub(crate) const fn match_columns(&self) -> &'static [&'static str] {
        self.columns
    }

    /// Derives the columns of one flow.
    #[must_use]
    pub fn inspect(&self, ended: &Ended) -> Content {
        let nothing = Contents::default();
        let contents = ended.contents.as_deref().unwrap_or(&nothing);
        let senders: [Sender; 2] = [ended.initiator.sender, ended.initiator.sender.opposite()];
        let sent = senders.map(|sender| contents.sent_by(sender));
        let matched = sent.iter().flat_map(|bytes| self.patterns.matches(bytes)).fold(0, |bits, n| bits | 1 << n);
        let is_message = !ended.key.later_fragment();
        Content {
            src2dst: FirstPayload::of(sent[0]),
            dst2src: FirstPayload::of(sent[1]),
            application: is_message.then(|| Application::of(ended.key.protocol(), sent)).flatten(),
            match_columns: self.columns,
            matched,
        }
    }
}
