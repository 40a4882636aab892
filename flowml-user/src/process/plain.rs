//! Plain text for a terminal: text from files, names and the network is shown and has no effect on the terminal.

use std::borrow::Cow;
use std::io::{self, Write as _};

/// Colours and weights of flowml's own texts (ECMA-48 §8.3.117, select graphic rendition).
pub mod paint {
    /// Back to normal text.
    pub const END: &str = "\x1b[0m";
    /// A heading.
    pub const BOLD: &str = "\x1b[1m";
    /// Less important text.
    pub const FAINT: &str = "\x1b[2m";
    /// A warning that must be seen.
    pub const ALARM: &str = "\x1b[1;31m";
}

const PAINTS: [&str; 4] = [paint::END, paint::BOLD, paint::FAINT, paint::ALARM];

/// Whether the character has an effect on a terminal: control characters (C0, DEL, C1), and characters of Unicode that
/// change the direction of the following text or end a line (UAX #9 §2, UAX #14).
#[must_use]
pub(crate) fn acts(character: char) -> bool {
    let is_direction =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || is_direction || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The text with these characters as escapes such as `\u{1b}`. Line feeds and the sequences of [`paint`] stay as they
/// are.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|character| character != '\n' && acts(character)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let painted = PAINTS.iter().find(|paint| rest.starts_with(**paint));
        let length = match painted {
            Some(paint) => {
                shown.push_str(paint);
                paint.len()
            }
            None if character != '\n' && acts(character) => {
                shown.extend(character.escape_unicode());
                character.len_utf8()
            }
            None => {
                shown.push(character);
                character.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Cow::Owned(shown)
}

/// The text as one line, with line feeds as escapes too.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    if text.contains('\n') { Cow::Owned(lines(text).replace('\n', "\\u{a}")) } else { lines(text) }
}

/// Writes a line to standard error. The work continues if that fails.
pub fn print(text: &str) {
    let _ = writeln!(io::stderr(), "{}", line(text));
}

/// Writes lines to standard error. The text contains the line ends.
pub fn print_lines(text: &str) {
    let _ = write!(io::stderr(), "{}", lines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_with_an_effect_on_a_terminal_are_escaped() {
        let cases = [
            ("plain – ä 日本\n", "plain – ä 日本\n"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\x1b[2J\x1b[31mred", "\\u{1b}[2J\\u{1b}[31mred"),
            ("a\rb\x08\x7f\t", "a\\u{d}b\\u{8}\\u{7f}\\u{9}"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("evil\u{202e}gpj.exe\u{2066}\u{200f}", "evil\\u{202e}gpj.exe\\u{2066}\\u{200f}"),
            ("\x1b[1mhead\x1b[0m \x1b[1;31m!\x1b[0m", "\x1b[1mhead\x1b[0m \x1b[1;31m!\x1b[0m"),
        ];
        for (text, shown) in cases {
            assert_eq!(lines(text), shown);
        }
        assert_eq!(line("flow\nflowml: all is well\x1b[8m"), "flow\\u{a}flowml: all is well\\u{1b}[8m");
    }
}
