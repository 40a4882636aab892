//! Model files: JSON with a format, a version, and the models of learners.

pub(crate) mod file;
mod learners;
#[cfg(test)]
mod mutations;

pub use self::learners::{ModelError, ModelFile, Snapshot, fingerprint};
