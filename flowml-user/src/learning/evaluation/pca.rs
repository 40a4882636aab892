//! The two directions in which rows vary most: a principal component analysis (Pearson 1901) for charts.
//!
//! linfa's implementation panics on some tables of more than 100,000 rows, and computes all directions where two are
//! needed.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

/// The largest number of iterations. Charts need only a few digits.
const ROUNDS: usize = 300;

/// The iteration ends when the directions turn by less than this.
const STILL: f64 = 1e-12;

/// A fraction of the variance that may be only a rounding error.
const ROUNDING: f64 = 1e-9;

/// The plane of the two directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    mean: Array1<f64>,
    /// Two orthogonal unit vectors; zero if there is no variance for them.
    directions: [Array1<f64>; 2],
    /// The fraction of the variance along each.
    explained: [f64; 2],
}

impl Plane {
    /// The plane of at least one row.
    #[must_use]
    pub fn of(rows: ArrayView2<'_, f64>) -> Self {
        let mean = rows.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(rows.ncols()));
        let centred = &rows - &mean;
        let mut covariance = centred.t().dot(&centred) / rows.nrows().max(1) as f64;
        let whole = covariance.diag().sum();
        let mut explained = [0.0; 2];
        let directions = [0, 1].map(|number: usize| {
            let (direction, variance) = strongest(&covariance, whole * ROUNDING);
            // The next direction is searched after this one was removed.
            let outer = direction.view().insert_axis(Axis(1)).dot(&direction.view().insert_axis(Axis(0)));
            covariance.scaled_add(-variance, &outer);
            explained[number] = if whole > 0.0 { (variance / whole).max(0.0) } else { 0.0 };
            direction
        });
        Self { mean, directions, explained }
    }

    /// The fraction of the variance along each direction, 0–1.
    #[must_use]
    pub fn explained(&self) -> [f64; 2] {
        self.explained
    }

    /// The coordinates of rows in the plane.
    #[must_use]
    pub fn project(&self, rows: ArrayView2<'_, f64>) -> Vec<(f64, f64)> {
        let point = |row: ArrayView1<'_, f64>| {
            let centred = &row - &self.mean;
            (centred.dot(&self.directions[0]), centred.dot(&self.directions[1]))
        };
        rows.outer_iter().map(point).collect()
    }
}

/// The eigenvector of the largest eigenvalue of a positive semidefinite matrix, and that eigenvalue, by power
/// iteration. Both are zero if the eigenvalue is at most `least`. The largest element of the vector is positive, so
/// that the same rows give the same chart.
fn strongest(matrix: &Array2<f64>, least: f64) -> (Array1<f64>, f64) {
    let width = matrix.ncols();
    // This start has none of the symmetries that data may have.
    let mut direction = Array1::from_shape_fn(width, |place| 1.0 + (place as f64 * 0.618_033_988_75).fract());
    direction /= direction.dot(&direction).sqrt().max(f64::MIN_POSITIVE);
    for _ in 0..ROUNDS {
        let mut next = matrix.dot(&direction);
        let length = next.dot(&next).sqrt();
        if length <= least {
            return (Array1::zeros(width), 0.0);
        }
        next /= length;
        let turned = (&next - &direction).mapv(|part| part * part).sum();
        direction = next;
        if turned < STILL * STILL {
            break;
        }
    }
    let largest =
        direction.iter().copied().fold(0.0, |most: f64, part| if part.abs() > most.abs() { part } else { most });
    if largest < 0.0 {
        direction.mapv_inplace(|part| -part);
    }
    let variance = direction.dot(&matrix.dot(&direction));
    (direction, variance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256Plus;

    #[test]
    fn the_directions_are_those_along_which_rows_were_spread() {
        let mut rng = Xoshiro256Plus::seed_from_u64(3);
        // Spread 5 along (3, 4, 0) / 5, 2 along (0, 0, 1), and 0.1 across.
        let rows = Array2::from_shape_fn((5000, 3), |_| 0.0);
        let rows = rows.outer_iter().map(|_| {
            let (a, b, c): (f64, f64, f64) =
                (rng.gen_range(-5.0..5.0), rng.gen_range(-2.0..2.0), rng.gen_range(-0.1..0.1));
            [7.0 + 0.6 * a - 0.8 * c, 0.8 * a + 0.6 * c, b]
        });
        let rows = Array2::from(rows.collect::<Vec<_>>());
        let plane = Plane::of(rows.view());
        let near = |ours: f64, theirs: f64| (ours - theirs).abs() < 0.02;
        assert!(plane.directions[0].iter().zip([0.6, 0.8, 0.0]).all(|(a, b)| near(*a, b)), "{plane:?}");
        assert!(plane.directions[1].iter().zip([0.0, 0.0, 1.0]).all(|(a, b)| near(*a, b)), "{plane:?}");
        // Variances 25 : 4 : 0.01.
        assert!(near(plane.explained()[0], 25.0 / 29.01) && near(plane.explained()[1], 4.0 / 29.01), "{plane:?}");
        let [point] = plane.project(array![[7.0 + 3.0, 4.0, 1.0]].view())[..] else { panic!("one row, one point") };
        assert!((point.0 - 5.0).abs() < 0.2 && (point.1 - 1.0).abs() < 0.2, "{point:?}");
    }

    #[test]
    fn rows_that_do_not_vary_lie_on_one_point() {
        for rows in [Array2::ones((4, 3)), Array2::ones((1, 1)), Array2::zeros((3, 0))] {
            let plane = Plane::of(rows.view());
            assert_eq!(plane.explained(), [0.0, 0.0]);
            assert!(plane.project(rows.view()).iter().all(|point| *point == (0.0, 0.0)));
        }
        // Rows on one line have no second direction.
        let plane = Plane::of(array![[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]].view());
        assert!((plane.explained()[0] - 1.0).abs() < 1e-9 && plane.explained()[1].abs() < 1e-9);
        assert!(plane.project(array![[2.0, 2.0]].view())[0].1.abs() < 1e-6);
    }
}
