//! Checks parts of model files when they are read, so that every part in memory is valid.
//!
//! Each part defines its conditions in [`Checked::check`], and [`checked!`] rejects a part that violates them when it
//! is read. The code that joins parts checks that they are consistent. Newly fitted parts are checked too, so that no
//! model is written that cannot be read.

use std::ops::RangeInclusive;

use serde::de;

/// The largest magnitude of a number in a model. Sums of squares, products and quotients of such numbers are finite.
pub(crate) const LARGEST: f64 = 1e60;

/// The smallest divisor.
pub(crate) const SMALLEST: f64 = 1e-60;

/// The permitted weights of a value below its centroid.
pub(crate) const WEIGHTS: RangeInclusive<f64> = 0.0..=1e3;

/// The range of fractions and probabilities.
pub(crate) const SHARES: RangeInclusive<f64> = 0.0..=1.0;

/// The error states what is wrong and what was expected.
pub(crate) type Outcome = Result<(), String>;

/// A part of a model file.
pub(crate) trait Checked: Sized {
    /// The part's name in errors.
    const NAME: &str;

    /// Checks the values of the part.
    fn check(&self) -> Outcome;

    /// Returns the part if it was read and is valid.
    fn admitted<E: de::Error>(read: Result<Self, E>) -> Result<Self, E> {
        let named = |error: String| E::custom(format!("{}: {error}", Self::NAME));
        let part = read.map_err(|error| named(error.to_string()))?;
        part.check().map_err(named)?;
        Ok(part)
    }
}

/// Implements serde's traits for a part with checks. The part derives them with `remote = "Self"`, which makes them
/// inherent functions.
macro_rules! checked {
    ($part:ty) => {
        impl<'de> serde::Deserialize<'de> for $part {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::learning::checked::Checked::admitted(<$part>::deserialize(from))
            }
        }

        impl serde::Serialize for $part {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                <$part>::serialize(self, to)
            }
        }
    };
}
pub(crate) use checked;

/// Checks that a number is within these bounds.
pub(crate) fn within(name: &str, value: f64, bounds: RangeInclusive<f64>) -> Outcome {
    // False for NaN.
    if bounds.contains(&value) {
        return Ok(());
    }
    let [value, least, most] = [value, *bounds.start(), *bounds.end()].map(short);
    Err(format!("'{name}' has the value {value}; expected {least} to {most}"))
}

/// A number as text; with an exponent if it has many digits.
fn short(value: f64) -> String {
    let is_usual = value == 0.0 || (1e-6..1e12).contains(&value.abs());
    if is_usual { value.to_string() } else { format!("{value:e}") }
}

/// Checks that all numbers are within these bounds.
pub(crate) fn all_within<'a>(
    name: &str,
    values: impl IntoIterator<Item = &'a f64>,
    bounds: &RangeInclusive<f64>,
) -> Outcome {
    values.into_iter().try_for_each(|value| within(name, *value, bounds.clone()))
}

/// The bounds of any number.
pub(crate) const fn any() -> RangeInclusive<f64> {
    -LARGEST..=LARGEST
}

/// The bounds of a number that is not negative.
pub(crate) const fn amount() -> RangeInclusive<f64> {
    0.0..=LARGEST
}

/// The bounds of a divisor or an argument of a logarithm.
pub(crate) const fn divisor() -> RangeInclusive<f64> {
    SMALLEST..=LARGEST
}

/// Checks that there are as many values as expected.
pub(crate) fn as_many(name: &str, found: usize, expected: usize) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("'{name}' has {found} values; expected {expected}")) }
}

/// Checks a condition; `otherwise` is the error.
pub(crate) fn holds(what: bool, otherwise: &str) -> Outcome {
    if what { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// A node of a tree that is stored as an array.
pub(crate) trait TreeNode {
    /// The right child, if the node has children. The left child directly follows the node.
    fn right(&self) -> Option<usize>;
}

/// Checks that an array is a tree: every node but the first is the child of an earlier node, so that every path ends at
/// a leaf.
pub(crate) fn is_tree(nodes: &[impl TreeNode]) -> Outcome {
    let mut has_parent = vec![false; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for child in node.right().into_iter().flat_map(|right| [at + 1, right]) {
            match has_parent.get_mut(child) {
                Some(taken) if child > at && !*taken => *taken = true,
                _ => {
                    return Err(format!(
                        "node {at} leads to node {child}; expected a later node without another parent"
                    ));
                }
            }
        }
    }
    holds(has_parent.iter().skip(1).all(|has| *has) && !nodes.is_empty(), "expected a node for each place of the tree")
}
