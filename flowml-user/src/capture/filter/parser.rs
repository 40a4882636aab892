//! The grammar of pcap-filter(7): `and` and `or` have the same precedence and are evaluated from left to right, `not` binds
//! more tightly, and a value without keywords has the keywords of the last value.

use super::error::FilterError;
use super::expression::Expression;
use super::primitive::{Primitive, primitive};
use super::reader::Reader;
use super::token::Token;
use super::value::{Qualifiers, is_value, values};

/// Reads an expression.
pub(super) struct Parser<'a> {
    reader: Reader<'a>,
    /// The keywords of the last value.
    last: Option<Qualifiers>,
    /// Number of `vlan` so far: primitives after them apply to packets with that number of tags.
    tags: u8,
    needs_tunnels: bool,
}

impl<'a> Parser<'a> {
    pub(super) const fn new(tokens: &'a [Token<'a>]) -> Self {
        Self { reader: Reader::new(tokens), last: None, tags: 0, needs_tunnels: false }
    }

    /// Reads all tokens. Also returns whether the expression selects by tunnel.
    pub(super) fn parse(mut self) -> Result<(Expression, bool), FilterError> {
        let expression = self.expression()?;
        match self.reader.peek() {
            None => Ok((expression, self.needs_tunnels)),
            Some(_) => Err(self.reader.expected("'and', 'or' or the end")),
        }
    }

    fn expression(&mut self) -> Result<Expression, FilterError> {
        let mut left = self.term()?;
        while let Some(is_and) = self.reader.take_connection() {
            let right = match self.last {
                Some(last) if is_value_next(self.reader.rest()) => values(&mut self.reader, last)?,
                _ => self.term()?,
            };
            left = if is_and { left.and(right) } else { left.or(right) };
        }
        Ok(left)
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        match self.reader.peek() {
            Some(Token::Not(_)) => {
                self.reader.skip();
                self.reader.enter()?;
                let inner = self.term()?;
                self.reader.leave();
                Ok(inner.negated())
            }
            Some(Token::Open) => {
                self.reader.skip();
                self.reader.enter()?;
                let inner = self.expression()?;
                self.reader.close()?;
                self.reader.leave();
                self.last = None;
                Ok(inner)
            }
            _ => {
                let Primitive { expression, last, tags, needs_tunnels } = primitive(&mut self.reader, self.tags)?;
                (self.last, self.tags) = (last, tags);
                self.needs_tunnels |= needs_tunnels;
                Ok(expression)
            }
        }
    }
}

/// Whether a value without keywords is next, possibly negated or in parentheses. A number before a comparison is none.
fn is_value_next(rest: &[Token<'_>]) -> bool {
    let first = rest.iter().position(|token| !matches!(token, Token::Not(_) | Token::Open)).unwrap_or(rest.len());
    matches!(rest.get(first), Some(Token::Word(word)) if is_value(word))
        && !matches!(rest.get(first + 1), Some(Token::Relation(..)))
}
