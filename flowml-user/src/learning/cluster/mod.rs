//! Clusters of encoded rows, and how well they are separated.

mod euclidean;
pub(crate) mod kmeans;
pub(crate) mod silhouette;
