//! Finds columns by name, and lists the most similar names if there is none.

use arrow_schema::Schema;

/// Maximum number of listed names.
const LISTED: usize = 12;

/// The position of the column with this name. If there is none, surrounding spaces are ignored: CICFlowMeter writes
/// names with a leading space (` Label`), and reading CSV removes it.
#[must_use]
pub(crate) fn column_named(schema: &Schema, name: &str) -> Option<usize> {
    let trimmed = || schema.fields().iter().position(|field| field.name().trim() == name.trim());
    schema.index_of(name).ok().or_else(trimmed)
}

/// The names, the most similar to `wanted` first, and the number of further names.
#[must_use]
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>, wanted: &str) -> String {
    let wanted = wanted.to_lowercase();
    let mut all: Vec<(usize, &str)> =
        names.into_iter().map(|name| (distance(&name.to_lowercase(), &wanted), name)).collect();
    // The sort is stable: equally similar names keep their order.
    all.sort_by_key(|(distance, _)| *distance);
    let shown: Vec<String> = all.iter().take(LISTED).map(|(_, name)| format!("'{name}'")).collect();
    match all.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The minimum number of insertions, deletions and replacements of characters between two texts (Levenshtein 1966).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, own) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], number + 1);
        for (at, theirs) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(own != *theirs);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};

    use super::*;

    #[test]
    fn space_around_a_name_is_ignored() {
        let schema = |names: &[&str]| {
            Schema::new(names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>())
        };
        assert_eq!(column_named(&schema(&["a", "Label"]), " Label"), Some(1));
        assert_eq!(column_named(&schema(&["a", " Label"]), "Label"), Some(1));
        assert_eq!(column_named(&schema(&[" Label", "Label"]), "Label"), Some(1));
        assert_eq!(column_named(&schema(&["Label", " Label "]), " Label "), Some(1));
        assert_eq!(column_named(&schema(&["a", "Label"]), "label"), None);
    }

    #[test]
    fn the_most_similar_names_are_first_and_the_list_is_limited() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(listed(["bytes", "Label"], "label"), "'Label', 'bytes'");
        let names: Vec<String> = (0..80).map(|number| format!("column {number}")).chain(["Label".to_owned()]).collect();
        let text = listed(names.iter().map(String::as_str), "labels");
        assert!(text.starts_with("'Label', 'column 0', ") && text.ends_with(" and 69 more"), "{text}");
    }
}
