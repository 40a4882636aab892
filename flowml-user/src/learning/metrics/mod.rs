//! Measures of scores, classes and clusters.

mod clustering;
mod confusion;
mod detection;
mod ranking;

pub use self::clustering::{davies_bouldin, silhouette};
pub use self::confusion::{ClassFigures, Confusion};
pub use self::detection::{Found, Moment, Watch};
pub use self::ranking::{Curve, Ranking};
