//! The position in the tokens of an expression.

use super::error::FilterError;
use super::token::Token;

/// Reads tokens one after the other.
pub(super) struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    depth: u32,
}

/// The largest number of parentheses and negations around a primitive.
const MAX_DEPTH: u32 = 100;

impl<'a> Reader<'a> {
    pub(super) const fn new(tokens: &'a [Token<'a>]) -> Self {
        Self { tokens, at: 0, depth: 0 }
    }

    /// The tokens that were not read yet.
    pub(super) fn rest(&self) -> &'a [Token<'a>] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.rest().first().copied()
    }

    /// Moves on by a token.
    pub(super) const fn skip(&mut self) {
        self.at += 1;
    }

    /// Takes the next token if it is this one.
    pub(super) fn take(&mut self, token: Token<'_>) -> bool {
        let is_next = self.peek() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes the next token if it is a word for which `wanted` is true.
    pub(super) fn take_word(&mut self, wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
        match self.peek() {
            Some(Token::Word(word)) if wanted(word) => {
                self.skip();
                Some(word)
            }
            _ => None,
        }
    }

    /// Takes `and` or `or`. Returns whether it is `and`.
    pub(super) fn take_connection(&mut self) -> Option<bool> {
        let is_and = match self.peek() {
            Some(Token::And(_)) => true,
            Some(Token::Or(_)) => false,
            _ => return None,
        };
        self.skip();
        Some(is_and)
    }

    /// Takes `)`.
    pub(super) fn close(&mut self) -> Result<(), FilterError> {
        if self.take(Token::Close) { Ok(()) } else { Err(self.expected("')'")) }
    }

    /// An error that states what was found in place of what was expected.
    pub(super) fn expected(&self, what: &str) -> FilterError {
        if let Some(Token::Other(sign)) = self.peek() {
            return FilterError(format!(
                "'{sign}' is not supported: numbers cannot be computed, and bytes of packets cannot be compared"
            ));
        }
        let found = self.peek().map_or_else(|| "the expression ends".to_owned(), |token| format!("found '{token}'"));
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let before = before.map_or_else(|| "at the start".to_owned(), |token| format!("after '{token}'"));
        FilterError(format!("expected {what} {before}, but {found}"))
    }

    /// Counts a parenthesis or a negation, in which the next tokens are until [`leave`](Self::leave).
    pub(super) fn enter(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FilterError(format!("more than {MAX_DEPTH} parentheses and negations are in each other")));
        }
        Ok(())
    }

    /// The end of what was entered last.
    pub(super) const fn leave(&mut self) {
        self.depth -= 1;
    }
}
