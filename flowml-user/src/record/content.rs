//! What is said of the first payload bytes of a flow; the bytes themselves are never said.

use std::fmt;
use std::str::FromStr;

use flowml_common::packet::Sender;
use regex::bytes::{Regex, RegexSet};

use super::application::Application;
use crate::session::{Contents, Ended};

/// What the first payload bytes of one direction are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirstPayload {
    /// How many were kept.
    pub bytes: u64,
    /// Shannon's entropy of their values, bits per byte, 0 to 8; NaN of none.
    pub entropy: f64,
    /// Visible ASCII, spaces, tabs and line ends among them, 0 to 1; NaN of none.
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

/// What is said of a flow's content.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// What the initiator sent first.
    pub src2dst: FirstPayload,
    /// What the responder sent first.
    pub dst2src: FirstPayload,
    /// The application, where one is recognised.
    pub application: Option<Application>,
    /// The columns of all patterns.
    pub match_columns: &'static [&'static str],
    /// Bit n: pattern n matches what either sent.
    pub matched: u64,
}

/// What stands before the name of a pattern in that of its column.
pub const MATCH_PREFIX: &str = "match_";

/// A `--match NAME=REGEX`.
#[derive(Clone, Debug)]
pub struct Pattern {
    name: String,
    regex: Regex,
}

/// The longest name of a pattern, bytes.
const LONGEST_NAME: usize = 32;

/// Compiled, a pattern takes at most so much memory, bytes.
const LARGEST_PATTERN: usize = 1 << 20;

/// Why a `--match` means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no `=` in it.
    #[error("expected NAME=REGEX, as in sql='(?i)union +select'")]
    Grammar,
    /// The name cannot be that of a column.
    #[error("'{0}' is no name: expected 1 to {LONGEST_NAME} of a-z, 0-9 and _")]
    Name(String),
    /// The regular expression is none.
    #[error("'{regex}' is no regular expression: {reason}")]
    Regex {
        /// What was given.
        regex: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Pattern {
    /// The name of its column, without [`MATCH_PREFIX`].
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

/// What is wrong with a regular expression, without the drawing of where.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Looks at the content of flows.
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
    /// The most patterns at once.
    pub const MAX_PATTERNS: usize = u64::BITS as usize;

    /// An inspector that looks for these patterns, of which there are at most [`MAX_PATTERNS`](Self::MAX_PATTERNS).
    ///
    /// The names of their columns are kept for the life of the program, as those of all columns are.
    ///
    /// # Errors
    /// If they are too large together.
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

    /// The columns of the patterns.
    #[must_use]
    pub const fn match_columns(&self) -> &'static [&'static str] {
        self.columns
    }

    /// Says what there is to be said of a flow.
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
