//! The words and signs of an expression.

use std::fmt;

/// A comparison of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    /// The relation with its sides exchanged.
    pub(super) const fn reversed(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// A word or a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    And(&'a str),
    Or(&'a str),
    Not(&'a str),
    Open,
    Close,
    Slash,
    Relation(Relation, &'a str),
    Bracket,
    /// A sign that no supported expression has.
    Other(&'a str),
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word(text)
            | Self::And(text)
            | Self::Or(text)
            | Self::Not(text)
            | Self::Relation(_, text)
            | Self::Other(text) => text,
            Self::Open => "(",
            Self::Close => ")",
            Self::Slash => "/",
            Self::Bracket => "[",
        })
    }
}

const fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | ':' | '_' | '-' | '\\' | '*' | '%')
}

/// Signs, the longer ones first.
const SIGNS: [(&str, Token<'static>); 14] = [
    ("&&", Token::And("&&")),
    ("||", Token::Or("||")),
    ("!=", Token::Relation(Relation::Different, "!=")),
    ("==", Token::Relation(Relation::Equal, "==")),
    ("<=", Token::Relation(Relation::LessOrEqual, "<=")),
    (">=", Token::Relation(Relation::GreaterOrEqual, ">=")),
    ("=", Token::Relation(Relation::Equal, "=")),
    ("<", Token::Relation(Relation::Less, "<")),
    (">", Token::Relation(Relation::Greater, ">")),
    ("!", Token::Not("!")),
    ("(", Token::Open),
    (")", Token::Close),
    ("/", Token::Slash),
    ("[", Token::Bracket),
];

/// Splits an expression.
pub(super) fn split(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = if is_of_word(first) {
            let end = rest.find(|character| !is_of_word(character)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            match word {
                "and" => Token::And(word),
                "or" => Token::Or(word),
                "not" => Token::Not(word),
                word => Token::Word(word),
            }
        } else {
            let sign = SIGNS.into_iter().find(|(sign, _)| rest.starts_with(sign));
            let (other, behind) = rest.split_at(sign.map_or(first.len_utf8(), |(sign, _)| sign.len()));
            rest = behind;
            sign.map_or(Token::Other(other), |(_, token)| token)
        };
        tokens.push(token);
        rest = rest.trim_start();
    }
    tokens
}
