//! Compares the number of `unsafe` in the code of each member with the committed number.

use std::collections::BTreeMap;
use std::path::Path;

use super::source::Parts;

/// The number of `unsafe` blocks, functions and implementations in the code of a member, tests included. Members that
/// are not listed have none. Fewer are better: whoever removes one lowers the number.
const COMMITTED: &[(&str, usize)] = &[("flowml-ebpf", 44), ("flowml-user", 30), ("tests", 36)];

/// Numbers by member.
pub(super) type Numbers = BTreeMap<String, usize>;

/// Adds the number of a file to that of its member.
pub(super) fn add(numbers: &mut Numbers, file: &Path, parts: &Parts) {
    let member = file.iter().next().unwrap_or_default().to_string_lossy().into_owned();
    *numbers.entry(member).or_default() += count(&parts.code);
}

/// Members whose number differs from the committed one, with a message.
pub(super) fn compare(numbers: &Numbers) -> Vec<(&str, String)> {
    let committed = |member: &str| COMMITTED.iter().find(|(name, _)| *name == member).map_or(0, |(_, number)| *number);
    let differ = numbers.iter().filter(|(member, number)| **number != committed(member));
    differ
        .map(|(member, number)| {
            let expected = committed(member);
            let advice = if *number > expected { "is there a safe way? If not, raise" } else { "lower" };
            let message =
                format!("`unsafe` {number} times, committed {expected}: {advice} the number in unsafe_code.rs");
            (member.as_str(), message)
        })
        .collect()
}

/// Counts `unsafe` in code. Attributes such as `#[unsafe(no_mangle)]` are followed by a parenthesis and do not count.
fn count(code: &str) -> usize {
    let words = code.match_indices("unsafe").filter(|(at, word)| {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(|c| is_name(c) || c == '(')
    });
    words.count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::source::divide;
    use super::{Numbers, add, compare, count};

    #[test]
    fn blocks_functions_and_implementations_count() {
        let text = "#![forbid(unsafe_code)]\n#[unsafe(no_mangle)]\nunsafe impl Send for A {}\nunsafe fn f() {}\n\
                    fn g() { unsafe { f() } } // unsafe\nconst H: &str = \"unsafe\";\n";
        assert_eq!(count(&divide(text).code), 3);
    }

    #[test]
    fn a_number_that_is_not_the_committed_one_is_reported() {
        let mut numbers = Numbers::new();
        add(&mut numbers, Path::new("xtask/src/main.rs"), &divide("unsafe { f() }"));
        let [("xtask", message)] = &compare(&numbers)[..] else { panic!("one member") };
        assert!(message.starts_with("`unsafe` 1 times, committed 0: is there a safe way?"), "{message}");
    }
}
