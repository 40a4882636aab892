//! The payload bytes that are read, and the patterns that are searched for in them.

use std::collections::HashSet;

use anyhow::Context;
use clap::Args;
use flowml_common::content::PayloadLimit;
use flowml_user::record::{Inspector, Pattern};

/// The payload options: bytes to keep, and patterns to search for.
#[derive(Args, Clone, Debug)]
pub(crate) struct ContentArguments {
    /// Read the first N bytes of payload of each direction, 0 to 256. They give the columns for application, server
    /// name, entropy and '--match'. The bytes themselves are not written to records [default: 0, payload is not read]
    #[arg(long = "payload", value_name = "N", default_value_t = 0, hide_default_value = true,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(PayloadLimit::MAX)))]
    payload: u32,

    /// Add a column match_NAME, which is 1 if REGEX matches the payload bytes of either direction; may be repeated
    #[arg(long = "match", value_name = "NAME=REGEX", requires = "payload")]
    pub(crate) matches: Vec<Pattern>,
}

impl ContentArguments {
    /// Number of payload bytes to keep.
    #[must_use]
    pub(crate) const fn limit(&self) -> Option<PayloadLimit> {
        PayloadLimit::new(self.payload)
    }

    /// The patterns to search for, if payload is read.
    ///
    /// # Errors
    /// If all patterns together are too large.
    pub(crate) fn inspector(&self) -> anyhow::Result<Option<Inspector>> {
        let wanted = self.limit().is_some();
        let inspector = wanted.then(|| Inspector::new(&self.matches)).transpose();
        inspector.context("all patterns of '--match' together are too large")
    }

    pub(super) fn contradiction(&self) -> Option<String> {
        let mut seen = HashSet::new();
        if self.limit().is_none() && !self.matches.is_empty() {
            return Some(
                "'--match' searches payload, and '--payload 0' reads none: expected '--payload' of 1 to 256".to_owned(),
            );
        }
        if self.matches.len() > Inspector::MAX_PATTERNS {
            return Some(format!("'--match' was given more often than {} times", Inspector::MAX_PATTERNS));
        }
        let twice = self.matches.iter().find(|pattern| !seen.insert(pattern.name()))?;
        Some(format!(
            "the name '{}' was given to two patterns ('--match'): expected a different name for each",
            twice.name()
        ))
    }
}
