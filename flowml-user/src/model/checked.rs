//! Parts of model files: each is checked when it is read, so that a part that exists is one that works.
//!
//! A part says by [`Checked::check`] what must hold of it, and [`checked!`] makes reading it impossible where that does not.
//! Whether parts fit each other is checked by what joins them. What was fitted is checked in the same way before it is
//! used, so that no model is written that cannot be read.

use std::ops::RangeInclusive;

use serde::de;

/// The largest magnitude of a number in a model. Sums of squares, products and quotients of such numbers are finite.
pub(super) const LARGEST: f64 = 1e60;

/// The smallest number that anything is divided by.
pub(super) const SMALLEST: f64 = 1e-60;

/// The weights that a value below its centroid may have.
pub(super) const WEIGHTS: RangeInclusive<f64> = 0.0..=1e3;

/// Parts of one, and probabilities.
pub(super) const SHARES: RangeInclusive<f64> = 0.0..=1.0;

/// Says what is wrong and what was expected.
pub(super) type Outcome = Result<(), String>;

/// A part of a model file.
pub(super) trait Checked: Sized {
    /// What it is called in errors.
    const NAME: &str;

    /// What must hold of its values.
    fn check(&self) -> Outcome;

    /// The part that was read, if it was read and what must hold of it does.
    fn admitted<E: de::Error>(read: Result<Self, E>) -> Result<Self, E> {
        let named = |error: String| E::custom(format!("{}: {error}", Self::NAME));
        let part = read.map_err(|error| named(error.to_string()))?;
        part.check().map_err(named)?;
        Ok(part)
    }
}

/// Gives a part, which derives serde's traits with `remote = "Self"` and thereby as functions of its own, the traits: what
/// is read is checked.
macro_rules! checked {
    ($part:ty) => {
        impl<'de> serde::Deserialize<'de> for $part {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                crate::model::checked::Checked::admitted(<$part>::deserialize(from))
            }
        }

        impl serde::Serialize for $part {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                <$part>::serialize(self, to)
            }
        }
    };
}
pub(super) use checked;

/// A number of this name lies within these bounds.
pub(super) fn within(name: &str, value: f64, bounds: RangeInclusive<f64>) -> Outcome {
    // False for NaN.
    if bounds.contains(&value) {
        return Ok(());
    }
    let [value, least, most] = [value, *bounds.start(), *bounds.end()].map(short);
    Err(format!("'{name}' has the value {value}; expected {least} to {most}"))
}

/// A number for people: one with many digits by its exponent.
fn short(value: f64) -> String {
    let is_usual = value == 0.0 || (1e-6..1e12).contains(&value.abs());
    if is_usual { value.to_string() } else { format!("{value:e}") }
}

/// All numbers of this name lie within these bounds.
pub(super) fn all_within<'a>(
    name: &str,
    values: impl IntoIterator<Item = &'a f64>,
    bounds: &RangeInclusive<f64>,
) -> Outcome {
    values.into_iter().try_for_each(|value| within(name, *value, bounds.clone()))
}

/// The bounds of any number.
pub(super) const fn any() -> RangeInclusive<f64> {
    -LARGEST..=LARGEST
}

/// The bounds of an amount.
pub(super) const fn amount() -> RangeInclusive<f64> {
    0.0..=LARGEST
}

/// The bounds of what something is divided by, or whose logarithm is taken.
pub(super) const fn divisor() -> RangeInclusive<f64> {
    SMALLEST..=LARGEST
}

/// There are as many values of this name as there should be.
pub(super) fn as_many(name: &str, found: usize, expected: usize) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("'{name}' has {found} values; expected {expected}")) }
}

/// What must hold does.
pub(super) fn holds(what: bool, otherwise: &str) -> Outcome {
    if what { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// A node of a tree that is kept as an array.
pub(super) trait TreeNode {
    /// Its right child, where it has children; the left one stands right behind it.
    fn right(&self) -> Option<usize>;
}

/// A tree in an array: every node but the first is the child of one before it, so that every path ends at a leaf.
pub(super) fn is_tree(nodes: &[impl TreeNode]) -> Outcome {
    let mut has_parent = vec![false; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for child in node.right().into_iter().flat_map(|right| [at + 1, right]) {
            match has_parent.get_mut(child) {
                Some(taken) if child > at && !*taken => *taken = true,
                _ => return Err(format!("node {at} leads to node {child}; expected one behind it, and no other's")),
            }
        }
    }
    holds(has_parent.iter().skip(1).all(|has| *has) && !nodes.is_empty(), "expected a node for each place of the tree")
}
