//! Evaluation: the folds of a cross-validation, and the plane in which rows are drawn.

mod folds;
mod pca;

pub use self::folds::{Division, Fold, folds};
pub use self::pca::Plane;
