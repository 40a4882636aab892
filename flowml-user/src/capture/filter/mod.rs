//! Filters of packets: expressions in the language of libpcap (pcap-filter(7)), compiled to the tests that the kernel
//! programs and `flowml read` evaluate.
//!
//! ```
//! use flowml_user::capture::filter::PacketFilter;
//!
//! let filter: PacketFilter = "tcp port 443 and not net 10.0.0.0/8".parse()?;
//! assert_eq!(filter.tests(), 6);
//! let error = "tcp[13] & 2 != 0".parse::<PacketFilter>().expect_err("bytes cannot be compared");
//! assert!(error.to_string().starts_with("'tcp[' reads bytes of the packet"));
//! # Ok::<(), flowml_user::capture::filter::FilterError>(())
//! ```

mod check;
mod compile;
mod error;
mod expression;
mod parser;
mod primitive;
mod reader;
mod token;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use flowml_common::filter::Filter;

pub use self::error::FilterError;

use self::parser::Parser;

/// A filter, and the expression that it was made of.
#[derive(Clone, PartialEq, Eq)]
pub struct PacketFilter {
    expression: String,
    filter: Box<Filter>,
    tests: usize,
    needs_tunnels: bool,
}

impl PacketFilter {
    /// The compiled filter.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The number of its tests.
    #[must_use]
    pub const fn tests(&self) -> usize {
        self.tests
    }

    /// Whether it selects by tunnel, which needs tunnels that are looked into.
    #[must_use]
    pub const fn needs_tunnels(&self) -> bool {
        self.needs_tunnels
    }
}

impl fmt::Display for PacketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expression)
    }
}

impl fmt::Debug for PacketFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PacketFilter").field(&self.expression).finish()
    }
}

impl FromStr for PacketFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let tokens = token::split(text);
        let (expression, needs_tunnels) = Parser::new(&tokens).parse()?;
        let tests = compile::compile(&expression);
        let filter = Filter::new(&tests).ok_or_else(|| {
            FilterError(format!(
                "the expression needs {} tests, and a filter has at most {}",
                tests.len(),
                Filter::LENGTH
            ))
        })?;
        Ok(Self { expression: text.to_owned(), filter: Box::new(filter), tests: tests.len(), needs_tunnels })
    }
}
