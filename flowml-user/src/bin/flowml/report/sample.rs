//! Random samples of rows from tables of any length, with equal probability (reservoir sampling, Vitter 1985).

use std::rc::Rc;

use anyhow::Result;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::interleave::interleave_record_batch;
use arrow_select::take::take_record_batch;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256Plus;

/// Decides which elements are kept in a sample of fixed size, and where.
#[derive(Clone, Debug)]
pub(super) struct Reservoir {
    size: usize,
    seen: u64,
    random: Xoshiro256Plus,
}

impl Reservoir {
    pub(super) fn new(size: usize) -> Self {
        Self { size, seen: 0, random: Xoshiro256Plus::seed_from_u64(0) }
    }

    /// The position of the next element, if it is kept. It may replace an earlier element.
    pub(super) fn place(&mut self) -> Option<usize> {
        let number = self.seen;
        self.seen += 1;
        let place = if number < self.size as u64 { number } else { self.random.gen_range(0..=number) };
        usize::try_from(place).ok().filter(|place| *place < self.size)
    }

    /// The number of elements so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }
}

/// A sample of rows from batches of one shape.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    reservoir: Reservoir,
    /// The batch of the row, its position in the batch, and its number in the order of arrival.
    rows: Vec<(Rc<RecordBatch>, usize, u64)>,
}

impl Sample {
    /// A sample of at most `size` rows.
    pub(super) fn new(size: usize) -> Self {
        Self { reservoir: Reservoir::new(size), rows: Vec::new() }
    }

    /// Adds rows of a batch; each is kept with equal probability.
    pub(super) fn add(&mut self, batch: &RecordBatch, rows: impl Iterator<Item = u32>) -> Result<()> {
        let mut chosen = Vec::new();
        for row in rows {
            let came = self.reservoir.seen();
            chosen.extend(self.reservoir.place().map(|place| (place, row, came)));
        }
        if chosen.is_empty() {
            return Ok(());
        }
        // Copies the rows, so that the rest of the batch is freed.
        let numbers: UInt32Array = chosen.iter().map(|(_, row, _)| Some(*row)).collect();
        let own = Rc::new(take_record_batch(batch, &numbers)?);
        for (at, (place, _, came)) in chosen.into_iter().enumerate() {
            let row = (Rc::clone(&own), at, came);
            match self.rows.get_mut(place) {
                Some(earlier) => *earlier = row,
                None => self.rows.push(row),
            }
        }
        Ok(())
    }

    /// The number of rows so far.
    pub(super) fn seen(&self) -> u64 {
        self.reservoir.seen()
    }

    /// The sampled rows in their order of arrival; None if there are none.
    pub(super) fn batch(&self) -> Result<Option<RecordBatch>> {
        let mut rows: Vec<&(Rc<RecordBatch>, usize, u64)> = self.rows.iter().collect();
        rows.sort_by_key(|(.., came)| *came);
        let batches: Vec<&RecordBatch> = rows.iter().map(|(batch, ..)| &**batch).collect();
        let places: Vec<(usize, usize)> = rows.iter().enumerate().map(|(at, (_, row, _))| (at, *row)).collect();
        if batches.is_empty() {
            return Ok(None);
        }
        Ok(Some(interleave_record_batch(&batches, &places)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Float64Array;
    use arrow_schema::{DataType, Field, Schema};
    use flowml_user::dataset::columns::numbers_of;

    use super::*;

    fn batch(from: u32, rows: u32) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Float64, false)]));
        let numbers: Float64Array = (from..from + rows).map(|n| Some(f64::from(n))).collect();
        RecordBatch::try_new(schema, vec![Arc::new(numbers)]).expect("one column")
    }

    fn numbers(sample: &Sample) -> Vec<f64> {
        let batch = sample.batch().expect("rows of one shape").expect("there are rows");
        numbers_of(&batch, "n").expect("it has the column")
    }

    #[test]
    fn few_rows_are_all_kept_and_many_are_sampled_evenly() {
        let mut sample = Sample::new(100);
        assert!(sample.batch().expect("nothing is no error").is_none());
        sample.add(&batch(0, 60), 0..60).expect("the rows are there");
        assert!(numbers(&sample).into_iter().eq((0..60).map(f64::from)));
        for part in 0..100 {
            sample.add(&batch(60 + part * 100, 100), 0..100).expect("the rows are there");
        }
        let taken = numbers(&sample);
        assert_eq!((taken.len(), sample.seen()), (100, 10_060));
        assert!(taken.is_sorted() && taken.windows(2).all(|pair| pair[0] < pair[1]));
        // The standard deviation of the mean of 100 rows is about 290.
        let mean = taken.iter().sum::<f64>() / 100.0;
        assert!((mean - 5030.0).abs() < 1200.0, "{mean}");
    }
}
