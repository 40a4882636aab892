//! Finds words of unfinished work, names without a purpose, and private words of STYLE.md.

use super::source::Parts;

/// Words that mark unfinished work. Each is in two halves, so that this file passes its own check.
const UNFINISHED: &[(&str, &str)] =
    &[("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK"), ("todo", "!"), ("unimplemented", "!"), ("dbg", "!")];

/// Names that do not state a purpose.
const EMPTY_NAMES: &[(&str, &str)] = &[("Man", "ager"), ("Hel", "per"), ("Ut", "ils")];

/// Words and phrases of STYLE.md that have a plain replacement in every context, with that.
const PRIVATE_WORDS: &[(&str, &str)] = &[
    ("anew", "again"),
    ("as it were", "nothing"),
    ("begun anew", "started"),
    ("deed", "activity"),
    ("dialogue", "connection"),
    ("does not balance", "the check failed"),
    ("faint", "down-weighted"),
    ("has gone", "was removed, was closed"),
    ("have gone", "were removed"),
    ("invented", "spoofed"),
    ("lessen", "degrade"),
    ("lessens", "degrades"),
    ("lesson", "training set"),
    ("lessons", "training set"),
    ("look around", "(terminal UI)"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("mends", "fixes"),
    ("news", "event"),
    ("number that is none", "invalid"),
    ("oddest", "most unusual"),
    ("oddity", "anomaly"),
    ("oddly", "unusually"),
    ("of late", "recently"),
    ("opener", "initiator"),
    ("pages of the manual", "man pages"),
    ("says", "states"),
    ("so to speak", "nothing"),
    ("successor", "candidate model"),
    ("taught", "trained"),
    ("teach", "train"),
    ("teaches", "trains"),
    ("teaching", "training"),
    ("tell apart", "distinguish"),
    ("tells apart", "distinguishes"),
    ("tells", "reports"),
    ("the begin", "the start"),
    ("told apart", "distinguished"),
    ("told", "reported"),
    ("two-way flow", "biflow"),
    ("who opened", "initiator"),
];

/// The document that lists them.
pub(super) const LIST: &str = "STYLE.md";

/// This file, which contains them.
pub(super) const FILE: &str = "xtask/src/rules/words.rs";

/// Finds words of unfinished work and empty names in the text of a Rust file.
pub(super) fn unfinished(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '!') {
            let joined = |&(first, second): &(&str, &str)| word.strip_prefix(first) == Some(second);
            let ends = |&(first, second): &(&str, &str)| word.strip_suffix(second).is_some_and(|s| s.ends_with(first));
            if UNFINISHED.iter().any(joined) {
                found.push((number, format!("`{word}`: finish it, or say in an issue what is missing")));
            } else if EMPTY_NAMES.iter().any(ends) {
                found.push((number, format!("`{word}`: expected a name that states what it does")));
            }
        }
    }
    found
}

/// Finds private words in comments and string literals: messages and help texts.
pub(super) fn in_source(parts: &Parts) -> Vec<(usize, String)> {
    let strings: Vec<String> = parts.strings.lines().map(without_placeholders).collect();
    private(parts.comments.lines()).chain(private(strings.iter().map(String::as_str))).collect()
}

/// Finds private words in a document. Code blocks are left out.
pub(super) fn in_document(text: &str) -> Vec<(usize, String)> {
    private(prose(text)).collect()
}

/// The lines of a document. Lines of code blocks are replaced by empty lines.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines().map(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        if in_block || is_fence { "" } else { line }
    })
}

/// A line of a string literal without the names of values in braces.
fn without_placeholders(line: &str) -> String {
    let mut pieces = line.split('{');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + " _ " + piece.split_once('}').map_or(piece, |(_, after)| after))
}

/// Finds private words in lines of text. Text in backticks is a name, and is left out.
fn private<'a>(lines: impl Iterator<Item = &'a str>) -> impl Iterator<Item = (usize, String)> {
    (1..).zip(lines).flat_map(|(number, line)| {
        let text = line.split('`').step_by(2).collect::<Vec<_>>().join(" _ ").to_lowercase();
        let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric() && !"_-'".contains(c)).collect();
        let text = format!(" {} ", words.join(" "));
        let found = PRIVATE_WORDS.iter().filter(move |(word, _)| text.contains(&format!(" {word} ")));
        found.map(move |(word, plain)| (number, format!("`{word}`: {LIST} has a plain word for it: {plain}")))
    })
}

#[cfg(test)]
mod tests {
    use super::super::source::divide;
    use super::{in_document, in_source, unfinished};

    #[test]
    fn private_words_are_found_in_prose_and_not_in_names() {
        let found = in_document("It is told `anew`.\n```\ntold\n```\nbending, Lessens");
        assert_eq!(found.into_iter().map(|(line, _)| line).collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn private_words_are_found_in_comments_and_messages_and_not_in_code() {
        let found =
            in_source(&divide("let told = 1; // nothing\nf(\"{told} is told\");\n// So to\n// speak, so to speak\n"));
        assert_eq!(found.into_iter().map(|(line, _)| line).collect::<Vec<_>>(), [4, 2]);
    }

    #[test]
    fn unfinished_work_and_empty_names_are_found() {
        let words_of = |text: String| unfinished(&text).len();
        assert_eq!(words_of(format!("fn f() {{ {}{}() }}", "todo", "!")), 1);
        assert_eq!(words_of(format!("// {}{}: later\nstruct Flow{}{};", "TO", "DO", "Man", "ager")), 2);
        assert_eq!(words_of("/// Nothing to do; a manager of people, helpers.".to_owned()), 0);
    }
}
