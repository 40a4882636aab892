//! Sufficient statistics of the rows that a model has scored. Those of many agents merge by addition.
//!
//! For each cluster they are the number of rows, the sums and the sums of squares of each encoded feature, the sum of
//! squared distances, and the number of rows in each bin of the score. They are of the same clusters on all agents only
//! if the clusters stay as they are, so a model whose statistics are gathered does not move its clusters.

mod cluster;
mod identity;
pub(crate) mod sketch;

pub use self::cluster::{ClusterStatistics, ClusterSums};
pub(crate) use self::cluster::{Gathered, Statistics};
pub use self::identity::{InvalidHash, ModelHash, ModelIdentity};
