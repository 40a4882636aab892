//! Rows of a warm-up that look like a transient attack.
//!
//! A lasting attack cannot be distinguished from a host with an unusual task. Rows that are far from all lasting
//! clusters and were present only for a small part of the time are excluded. It is better to raise an alarm when they
//! return than to treat them as normal.

use ndarray::ArrayView2;

use crate::learning::calibration::probability::Tail;
use crate::learning::cluster::kmeans::{Clusters, Nearest};

/// Number of equal parts of the warm-up's time in which presence is counted.
const PARTS: usize = 10;

/// A cluster with rows in more parts than this is lasting.
const TRANSIENT_PARTS: usize = 3;

/// A row is far if its probability is below this in the heaviest permitted tail.
const FAR: f64 = 1e-5;

/// For each row, whether it must be left out. `times` are the rows' times on any scale, in ascending order.
pub(crate) fn transient_rows(clusters: &Clusters, scaled: ArrayView2<'_, f64>, times: &[u32]) -> Vec<bool> {
    let nearest = |clusters: &Clusters, row: usize| clusters.nearest_of(scaled.row(row));
    let members: Vec<usize> = (0..scaled.nrows()).map(|row| nearest(clusters, row).cluster).collect();
    let lasts = lasting(clusters.len(), &members, times);
    let Some(lasting) = clusters.only(|cluster| lasts[cluster]) else { return vec![false; members.len()] };
    let scores: Vec<f64> =
        (0..members.len()).map(|row| nearest(&lasting, row)).map(|Nearest { score, .. }| score).collect();
    let mut normal: Vec<f64> =
        scores.iter().zip(&members).filter(|(_, member)| lasts[**member]).map(|(score, _)| *score).collect();
    normal.sort_unstable_by(f64::total_cmp);
    let far = Tail::fit(&normal).at_its_heaviest().quantile(FAR);
    scores.iter().zip(&members).map(|(score, member)| !lasts[*member] && *score > far).collect()
}

/// For each cluster, whether it was present in more than [`TRANSIENT_PARTS`] parts of the time.
fn lasting(clusters: usize, members: &[usize], times: &[u32]) -> Vec<bool> {
    let first = times.first().copied().unwrap_or(0);
    let span = times.last().map_or(1, |last| last - first + 1) as usize;
    let mut present = vec![[false; PARTS]; clusters];
    for (&member, &time) in members.iter().zip(times) {
        present[member][(time - first) as usize * PARTS / span] = true;
    }
    // With fewer instants than parts, no cluster could be present in enough of them.
    let short = span < PARTS;
    present.iter().map(|parts| short || parts.iter().filter(|there| **there).count() > TRANSIENT_PARTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use rand::{Rng, SeedableRng};
    use rand_distr::StandardNormal;
    use rand_xoshiro::Xoshiro256Plus;

    /// Ten rows in each of thirty instants. Two of the ten are `offset` away in the instants for which `during` returns
    /// true.
    fn found(offset: f64, during: impl Fn(u32) -> bool) -> (Vec<bool>, Vec<bool>) {
        let mut rng = Xoshiro256Plus::seed_from_u64(1);
        let times: Vec<u32> = (0..300).map(|row| row / 10).collect();
        let moved: Vec<bool> = (0..300).map(|row| row % 10 < 2 && during(row / 10)).collect();
        let rows = Array2::from_shape_fn((300, 4), |(row, _)| {
            rng.sample::<f64, _>(StandardNormal) + if moved[row] { offset } else { 0.0 }
        });
        let clusters = Clusters::fit(rows.view(), &[1.0; 4], 8, 0);
        (transient_rows(&clusters, rows.view(), &times), moved)
    }

    #[test]
    fn a_far_transient_cluster_is_found() {
        let (found, moved) = found(30.0, |instant| (10..16).contains(&instant));
        assert_eq!(found, moved);
    }

    #[test]
    fn a_far_cluster_that_lasts_is_kept() {
        assert!(!found(30.0, |_| true).0.contains(&true));
        assert!(!found(30.0, |instant| instant % 4 == 0).0.contains(&true));
    }

    #[test]
    fn a_near_cluster_is_kept() {
        assert!(!found(2.0, |instant| (10..16).contains(&instant)).0.contains(&true));
    }

    #[test]
    fn a_single_instant_or_no_row_excludes_nothing() {
        let rows = Array2::from_shape_fn((50, 2), |(row, _)| if row == 0 { 1e3 } else { (row % 3) as f64 });
        let clusters = Clusters::fit(rows.view(), &[1.0; 2], 4, 0);
        assert!(!transient_rows(&clusters, rows.view(), &[7; 50]).contains(&true));
        assert_eq!(transient_rows(&clusters, Array2::zeros((0, 2)).view(), &[]), [false; 0]);
    }
}
