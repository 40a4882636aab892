//! Measures of clusterings: the silhouette, and Davies and Bouldin's index.

use ndarray::{Array1, Array2, ArrayView2};

use crate::learning::cluster::silhouette::Silhouette;

/// The mean silhouette (Rousseeuw 1987), from -1 to 1. Takes time quadratic in the rows; `None` for fewer than two
/// clusters.
#[must_use]
pub fn silhouette(rows: ArrayView2<'_, f64>, members: &[usize]) -> Option<f64> {
    let first = members.first()?;
    members.iter().any(|member| member != first).then(|| Silhouette::of(rows).mean(members))
}

/// Davies and Bouldin's index (1979): the mean over clusters of the largest `(sᵢ + sⱼ) / d(cᵢ, cⱼ)`, where `s` is the
/// mean distance of a cluster's rows from its centroid. Smaller is better; `None` for fewer than two clusters.
#[must_use]
pub fn davies_bouldin(rows: ArrayView2<'_, f64>, members: &[usize]) -> Option<f64> {
    let mut numbers = members.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() < 2 {
        return None;
    }
    let member = |row: usize| numbers.partition_point(|number| *number < members[row]);
    let mut centroids = Array2::<f64>::zeros((numbers.len(), rows.ncols()));
    let mut counts = Array1::<f64>::zeros(numbers.len());
    for (row, values) in rows.outer_iter().enumerate() {
        counts[member(row)] += 1.0;
        let mut centroid = centroids.row_mut(member(row));
        centroid += &values;
    }
    centroids.outer_iter_mut().zip(&counts).for_each(|(mut centroid, count)| centroid /= *count);
    let mut spreads = Array1::<f64>::zeros(numbers.len());
    for (row, values) in rows.outer_iter().enumerate() {
        let difference = &values - &centroids.row(member(row));
        spreads[member(row)] += difference.dot(&difference).sqrt() / counts[member(row)];
    }
    let worst = |cluster: usize| {
        let likeness = |other: usize| {
            let difference = &centroids.row(cluster) - &centroids.row(other);
            (spreads[cluster] + spreads[other]) / difference.dot(&difference).sqrt()
        };
        (0..numbers.len()).filter(|other| *other != cluster).map(likeness).fold(0.0, f64::max)
    };
    Some((0..numbers.len()).map(worst).sum::<f64>() / numbers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn two_pairs_on_a_line_have_the_values_computed_by_hand() {
        let rows = array![[0.0], [2.0], [10.0], [14.0]];
        // Spreads 1 and 2, centroids 1 and 12.
        let index = davies_bouldin(rows.view(), &[7, 7, 3, 3]).expect("there are two clusters");
        assert!((index - 3.0 / 11.0).abs() < 1e-12);
        assert_eq!(davies_bouldin(rows.view(), &[0; 4]), None);
    }
}
