//! Divides the text of a Rust file into code, comments and string literals.

/// The three parts of a text. Each has every line break of the text, so that line numbers agree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) code: String,
    pub(super) comments: String,
    pub(super) strings: String,
}

enum Kind {
    Code,
    Comment,
    Literal,
}

/// The text, or its code, before the module of tests, which comes last.
pub(super) fn without_tests(text: &str) -> &str {
    const ATTRIBUTE: &str = "#[cfg(test)]\n";
    let begins_module =
        |rest: &str| rest.starts_with("mod ") && rest.lines().next().is_some_and(|line| line.ends_with('{'));
    let mut found = text.match_indices(ATTRIBUTE).map(|(at, _)| at);
    found.find(|at| begins_module(&text[at + ATTRIBUTE.len()..])).map_or(text, |at| &text[..at])
}

/// Divides the text of a Rust file that compiles.
pub(super) fn divide(text: &str) -> Parts {
    let mut parts = Parts::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, length) = token(rest);
        let (token, after) = rest.split_at(length.clamp(1, rest.len()));
        parts.push(&kind, token);
        rest = after;
    }
    parts
}

impl Parts {
    fn push(&mut self, kind: &Kind, token: &str) {
        let breaks = "\n".repeat(token.matches('\n').count());
        let text = |own: bool| if own { token } else { &breaks };
        self.code.push_str(text(matches!(kind, Kind::Code)));
        self.comments.push_str(text(matches!(kind, Kind::Comment)));
        self.strings.push_str(text(matches!(kind, Kind::Literal)));
    }
}

/// The kind of the token at the start of a text, and its length in bytes.
fn token(text: &str) -> (Kind, usize) {
    if text.starts_with("//") {
        return (Kind::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Kind::Comment, block(text));
    }
    if let Some(length) = raw_string(text) {
        return (Kind::Literal, length);
    }
    if text.starts_with('"') {
        return (Kind::Literal, string(text));
    }
    if let Some(length) = character(text) {
        return (Kind::Code, length);
    }
    let name = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (Kind::Code, if name > 0 { name } else { text.chars().next().map_or(0, char::len_utf8) })
}

/// The length of a block comment. Block comments can contain others.
fn block(text: &str) -> usize {
    let mut depth = 0;
    let bytes = text.as_bytes();
    for at in 0..bytes.len().saturating_sub(1) {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" if depth == 1 => return at + 2,
            b"*/" => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a string literal with escapes.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string literal: `r"…"`, `r#"…"#`, with any number of `#`.
fn raw_string(text: &str) -> Option<usize> {
    let start = ["r", "br", "cr"].into_iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let content = start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let closed = content.find(&end).map_or(content.len(), |at| at + end.len());
    Some(text.len() - content.len() + closed)
}

/// The length of a character literal. A lifetime has no second quote.
fn character(text: &str) -> Option<usize> {
    let content = text.strip_prefix('\'')?;
    let first = content.chars().next()?;
    if first == '\\' {
        // The character after the backslash may be a quote.
        return Some("'\\x".len() + content[2..].find('\'')? + 1);
    }
    content[first.len_utf8()..].starts_with('\'').then(|| 2 + first.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn code_comments_and_strings_are_divided() {
        let parts = divide("f(\"a // b\\\" c\"); // d \"e\"\n/* g\n/* h */ i */ let j: &'k str = r#\"l\"m\"#;\n");
        assert_eq!(parts.code, "f(); \n\n let j: &'k str = ;\n");
        assert_eq!(parts.comments, "// d \"e\"\n/* g\n/* h */ i */\n");
        assert_eq!(parts.strings, "\"a // b\\\" c\"\n\nr#\"l\"m\"#\n");
    }

    #[test]
    fn quotes_in_character_literals_begin_no_string() {
        let parts = divide("['\"', '\\'', '\\u{e9}', 'é', '\\\\'] // b\n");
        assert_eq!((parts.strings.as_str(), parts.comments.as_str()), ("\n", "// b\n"));
    }

    #[test]
    fn every_part_has_every_line() {
        let text = "fn f() {\n    g(\"h \\\n      i\");\n}\n// j";
        let parts = divide(text);
        for part in [&parts.code, &parts.comments, &parts.strings] {
            assert_eq!(part.matches('\n').count(), text.matches('\n').count());
        }
    }
}
