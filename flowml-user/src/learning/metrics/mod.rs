//! Measures of scores, classes and clusters.
//!
//! ```
//! use flowml_user::learning::metrics::Ranking;
//!
//! let ranking = Ranking::new([(0.1, false), (0.2, false), (0.9, true)]).expect("both classes are there");
//! assert_eq!(ranking.auroc(), 1.0);
//! ```

mod clustering;
mod confusion;
mod detection;
mod ranking;

pub use self::clustering::{davies_bouldin, silhouette};
pub use self::confusion::{ClassFigures, Confusion};
pub use self::detection::{Found, Moment, Watch};
pub use self::ranking::{Curve, Ranking};
