//! Counts of scores in fixed logarithmic bins. Counts of many agents merge by addition.
//!
//! A bin is a sixteenth of an octave of `1 + score`, so a score is known to at most 1/16 of that.

/// The number of bins: sixteen octaves. The last one also has all higher scores.
pub(crate) const BINS: usize = 256;

/// The scores of a range with more counts than this are represented by this number of scores.
const PARTS: u64 = 16;

/// The bits of a floating-point number after its exponent and the first four bits of its mantissa, which are the bin.
const REST: u32 = 48;

/// The number of the lowest bin in these bits, which begins at 1.
const FIRST: u64 = 1.0_f64.to_bits() >> REST;

/// The bin of a score. Scores are not negative.
#[inline]
pub(crate) fn bin(score: f64) -> usize {
    let place = ((1.0 + score.max(0.0)).to_bits() >> REST) - FIRST;
    (place as usize).min(BINS - 1)
}

/// The lowest and the highest score of a bin.
pub(crate) fn range(bin: usize) -> [f64; 2] {
    [bin, bin + 1].map(|bin| f64::from_bits((FIRST + bin as u64) << REST) - 1.0)
}

/// Scores with the distribution of counts in ranges, in ascending order: one for each count, and at most `most`. Those of
/// one range are spread evenly over it.
pub(crate) fn spread_out(counts: impl Iterator<Item = ([f64; 2], u64)>, most: usize) -> Vec<f64> {
    let mut points = Vec::new();
    let mut total = 0_u64;
    for ([low, high], count) in counts {
        total = total.saturating_add(count);
        let parts = count.min(PARTS);
        let weight = count as f64 / parts.max(1) as f64;
        points.extend((0..parts).map(|part| (low + (part as f64 + 0.5) / parts as f64 * (high - low), weight)));
    }
    points.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let number = usize::try_from(total).unwrap_or(usize::MAX).min(most);
    let mut points = points.into_iter();
    let (mut score, mut reached) = (0.0, 0.0);
    let nth = |place: usize| {
        // The middle of the part of all rows for which this score stands.
        let rank = (place as f64 + 0.5) / number as f64 * total as f64;
        while reached <= rank {
            let Some((next, weight)) = points.next() else { break };
            (score, reached) = (next, reached + weight);
        }
        score
    };
    (0..number).map(nth).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bins_are_sixteenths_of_octaves() {
        assert_eq!([0.0, 0.06, 0.0625, 0.99, 1.0, 3.0, 65_534.0].map(bin), [0, 0, 1, 15, 16, 32, 255]);
        assert_eq!([-1.0, f64::NAN, f64::INFINITY, 1e9].map(bin), [0, 0, 255, 255]);
        assert_eq!([range(0), range(16), range(32)], [[0.0, 0.0625], [1.0, 1.125], [3.0, 3.25]]);
    }

    #[test]
    fn scores_have_the_distribution_of_the_counts() {
        let counts = [([0.0, 3.0], 3), ([5.0, 7.0], 1)];
        assert_eq!(spread_out(counts.into_iter(), 100), [0.5, 1.5, 2.5, 6.0]);
        // Each stands for two rows.
        assert_eq!(spread_out(counts.into_iter(), 2), [1.5, 6.0]);
        let many = spread_out([([5.0, 7.0], 1_000), ([0.0, 3.0], 1_000_000)].into_iter(), 1001);
        assert_eq!((many.len(), many.iter().filter(|score| **score > 3.0).count()), (1001, 1));
        assert_eq!(spread_out(std::iter::empty(), 100), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn each_score_returns_to_its_bin(scores in prop::collection::vec(0.0..60_000.0_f64, 0..300)) {
            let count = |scores: &[f64]| {
                let mut counts = vec![0_u64; BINS];
                scores.iter().for_each(|score| counts[bin(*score)] += 1);
                counts
            };
            let counts = count(&scores);
            let parts = counts.iter().enumerate().map(|(bin, count)| (range(bin), *count));
            let spread = spread_out(parts, usize::MAX);
            prop_assert!(spread.is_sorted());
            // More than sixteen scores of a bin are represented by sixteen, each several times.
            prop_assert_eq!(count(&spread), counts);
        }
    }
}
