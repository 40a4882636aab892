//! Clusters of encoded rows, and how well they are separated.

pub(crate) mod kmeans;
pub(crate) mod silhouette;
