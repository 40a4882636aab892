//! Columns by the names that people give them, and what there is where nothing has the name: the most similar names first.

use arrow_schema::Schema;

/// How many names are listed.
const LISTED: usize = 12;

/// The place of the column with this name; where there is none, of the one whose name differs by space around it alone, as
/// CICFlowMeter writes names (` Label`), which CSV is read without.
#[must_use]
pub fn column_named(schema: &Schema, name: &str) -> Option<usize> {
    let trimmed = || schema.fields().iter().position(|field| field.name().trim() == name.trim());
    schema.index_of(name).ok().or_else(trimmed)
}

/// The names, those that are most like `wanted` first, with how many more there are.
#[must_use]
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>, wanted: &str) -> String {
    let wanted = wanted.to_lowercase();
    let mut all: Vec<(usize, &str)> =
        names.into_iter().map(|name| (distance(&name.to_lowercase(), &wanted), name)).collect();
    // Stable: what is as similar stays in its order.
    all.sort_by_key(|(distance, _)| *distance);
    let shown: Vec<String> = all.iter().take(LISTED).map(|(_, name)| format!("'{name}'")).collect();
    match all.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The least number of characters to insert, delete or replace between two texts (Levenshtein 1966).
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
    fn a_name_is_that_of_a_column_with_or_without_space_around_it() {
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
    fn the_most_similar_names_come_first_and_the_list_is_bounded() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(listed(["bytes", "Label"], "label"), "'Label', 'bytes'");
        let names: Vec<String> = (0..80).map(|number| format!("column {number}")).chain(["Label".to_owned()]).collect();
        let text = listed(names.iter().map(String::as_str), "labels");
        assert!(text.starts_with("'Label', 'column 0', ") && text.ends_with(" and 69 more"), "{text}");
    }
}
