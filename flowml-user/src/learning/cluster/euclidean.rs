//! The Euclidean distance for linfa's k-means, over slices.
//!
//! It gives the numbers of linfa's own distance to the last bit. That one goes through two views of arrays for each
//! pair of a row and a centroid, and its loop takes most of the time of a fit.

use linfa_nn::distance::{Distance, L2Dist};
use ndarray::{ArrayView, Dimension};

/// The Euclidean distance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Euclidean;

impl Distance<f64> for Euclidean {
    #[inline]
    fn distance<D: Dimension>(&self, a: ArrayView<'_, f64, D>, b: ArrayView<'_, f64, D>) -> f64 {
        self.rdist_to_dist(self.rdistance(a, b))
    }

    #[inline]
    fn rdistance<D: Dimension>(&self, a: ArrayView<'_, f64, D>, b: ArrayView<'_, f64, D>) -> f64 {
        match (a.as_slice(), b.as_slice()) {
            (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum(),
            _ => L2Dist.rdistance(a, b),
        }
    }

    #[inline]
    fn rdist_to_dist(&self, rdist: f64) -> f64 {
        rdist.sqrt()
    }

    #[inline]
    fn dist_to_rdist(&self, dist: f64) -> f64 {
        dist * dist
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, ArrayView1};

    #[test]
    fn the_distance_is_linfas_to_the_last_bit() {
        let rows = Array2::from_shape_fn((40, 23), |(row, column)| ((row * 31 + column * 17) as f64).sin() * 1e3);
        let equal = |a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>| {
            assert_eq!(Euclidean.rdistance(a, b), L2Dist.rdistance(a, b));
            assert_eq!(Euclidean.distance(a, b), L2Dist.distance(a, b));
        };
        for row in 1..rows.nrows() {
            equal(rows.row(row), rows.row(row - 1));
        }
        equal(rows.column(0), rows.column(1));
        assert_eq!(Euclidean.distance(rows.view(), rows.view()), 0.0);
    }
}
