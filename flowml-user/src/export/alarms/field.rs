//! A table of fields makes the JSON object of an event, and its documentation.

use serde_json::{Map, Value};

use super::event::Event;

/// A field of an object. A dot in its name separates the names of nested objects.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The value; null if the event does not have it. It is then left out.
    pub(super) of: fn(&Event<'_>) -> Value,
    /// Its meaning, for the documentation.
    #[cfg_attr(not(test), expect(dead_code, reason = "documentation"))]
    pub(super) meaning: &'static str,
}

pub(super) const fn field(name: &'static str, of: fn(&Event<'_>) -> Value, meaning: &'static str) -> Field {
    Field { name, of, meaning }
}

/// The object of an event.
pub(super) fn object(fields: &[Field], event: &Event<'_>) -> Value {
    let mut root = Map::new();
    for Field { name, of, .. } in fields {
        let value = of(event);
        if !value.is_null() {
            insert(&mut root, name, value);
        }
    }
    Value::Object(root)
}

fn insert(object: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => drop(object.insert(name.to_owned(), value)),
        Some((first, rest)) => {
            let inner = object.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// A count of a test; null if the test does not count this.
pub(super) fn counted(number: u64) -> Value {
    if number == 0 { Value::Null } else { number.into() }
}

/// The table of the documentation.
#[cfg(test)]
pub(super) fn table(fields: &[Field]) -> String {
    let rows = fields.iter().map(|Field { name, meaning, .. }| format!("| `{name}` | {meaning} |\n"));
    format!("| field | value |\n| --- | --- |\n{}", rows.collect::<String>())
}
