//! The Euclidean distance for linfa's k-means, over slices.
//!
//! Most of the time of a fit is spent here. linfa's own distance goes through two views of arrays for each pair of a row
//! and a centroid, and adds the squares one after the other, so each addition waits for the one before. Here four sums
//! grow side by side.

use linfa_nn::distance::{Distance, L2Dist};
use ndarray::{ArrayView, Dimension};

/// Number of sums. More take longer for the vectors of few features that most tables have.
const SUMS: usize = 4;

/// The squared distance of two vectors of the same length.
#[inline]
fn distance2(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; SUMS];
    let (mut a, mut b) = (a.chunks_exact(SUMS), b.chunks_exact(SUMS));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *sum += (a - b) * (a - b);
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

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
            (Some(a), Some(b)) => distance2(a, b),
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
    fn the_distance_is_linfas_for_every_number_of_features() {
        let equal = |a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>| {
            let close = |own: f64, linfas: f64| assert!((own - linfas).abs() <= 1e-14 * linfas, "{own}, {linfas}");
            close(Euclidean.rdistance(a, b), L2Dist.rdistance(a, b));
            close(Euclidean.distance(a, b), L2Dist.distance(a, b));
        };
        for width in 1..=3 * SUMS + 1 {
            let rows =
                Array2::from_shape_fn((10, width), |(row, column)| ((row * 31 + column * 17) as f64).sin() * 1e3);
            for row in 1..rows.nrows() {
                equal(rows.row(row), rows.row(row - 1));
            }
            equal(rows.column(0), rows.column(width - 1));
            assert_eq!(Euclidean.distance(rows.view(), rows.view()), 0.0);
        }
    }
}
