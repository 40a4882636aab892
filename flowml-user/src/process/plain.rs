//! Text for a terminal: what comes from files, names and the network is shown there, and does nothing.

use std::borrow::Cow;
use std::io::{self, Write as _};

/// How our own texts are painted (ECMA-48 §8.3.117, select graphic rendition).
pub mod paint {
    /// As texts are otherwise.
    pub const END: &str = "\x1b[0m";
    /// A heading.
    pub const BOLD: &str = "\x1b[1m";
    /// What matters less.
    pub const FAINT: &str = "\x1b[2m";
    /// What must not be overlooked.
    pub const ALARM: &str = "\x1b[1;31m";
}

const PAINTS: [&str; 4] = [paint::END, paint::BOLD, paint::FAINT, paint::ALARM];

/// Whether a terminal would do something instead of showing the character: control characters (C0, DEL, C1), and those of
/// Unicode that change the direction of what follows or end a line (UAX #9 §2, UAX #14).
#[must_use]
pub fn acts(character: char) -> bool {
    let is_direction =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || is_direction || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The text with such characters as escapes: `\u{1b}`. Line feeds remain, and [`paint`] does.
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

/// The text in one line.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    if text.contains('\n') { Cow::Owned(lines(text).replace('\n', "\\u{a}")) } else { lines(text) }
}

/// Tells people a line on standard error. Where nobody can be told, the work goes on.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{}", line(text));
}

/// Tells people several lines, each with its end.
pub fn tell_lines(text: &str) {
    let _ = write!(io::stderr(), "{}", lines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_shown() {
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
