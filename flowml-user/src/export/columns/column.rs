//! The description of an output column.

use crate::features::{Feature, Learn, Sequence};
use crate::record::{Identifier, ValueType};

/// The description of an output column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// The name: the key in JSON, the header in CSV, the field in Parquet.
    pub name: &'static str,
    /// The type of its values.
    pub kind: ValueType,
    /// The unit of its values; empty for names, numbers and flags.
    pub unit: &'static str,
    /// The meaning, in one line.
    pub meaning: &'static str,
    /// The encoding for models.
    pub learn: Learn,
    /// Whether NFStream has the same quantity under the same name.
    pub nfstream: bool,
}

impl<T> From<&Identifier<T>> for OutputColumn {
    fn from(&Identifier { name, kind, meaning, nfstream, .. }: &Identifier<T>) -> Self {
        Self { name, kind, unit: "", meaning, learn: Learn::Never, nfstream }
    }
}

impl<T> From<&Feature<T>> for OutputColumn {
    fn from(feature: &Feature<T>) -> Self {
        let &Feature { name, unit, meaning, learn, nfstream, .. } = feature;
        Self { name, kind: feature.kind(), unit, meaning, learn, nfstream }
    }
}

impl<T> From<&Sequence<T>> for OutputColumn {
    fn from(&Sequence { name, kind, unit, meaning, .. }: &Sequence<T>) -> Self {
        Self { name, kind, unit, meaning, learn: Learn::Never, nfstream: true }
    }
}
