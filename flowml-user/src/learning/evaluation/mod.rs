//! Evaluation: the folds of a cross-validation, and the plane in which rows are drawn.
//!
//! ```
//! use std::sync::Arc;
//!
//! use flowml_user::learning::evaluation::{Division, folds};
//!
//! let labels: Vec<Arc<str>> = ["benign", "scan"].map(Arc::from).into_iter().cycle().take(20).collect();
//! let folds = folds(&labels, &[0; 20], 5, Division::Stratified, 1);
//! assert!(folds.iter().all(|fold| fold.train.len() + fold.test.len() == 20));
//! ```

mod folds;
mod pca;

pub use self::folds::{Division, Fold, folds};
pub use self::pca::Plane;
