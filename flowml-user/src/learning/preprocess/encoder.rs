//! Scales a row in straight loops over columns of one kind, which are made of the fitted scales.

use crate::learning::preprocess::defined::defined;
use crate::learning::preprocess::few::Few;
use crate::learning::preprocess::scaler::{CLIP, HOT, LARGEST_RATIO, Scale, log1p};

/// A column of raw rows, and its first encoded feature.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    column: usize,
    slot: usize,
}

/// The columns by kind. Most columns are not encoded, so a loop over all would spend its time on branches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Encoder {
    log_scaled: Vec<Place>,
    plain: Vec<Place>,
    /// Ratios over few things, and whether they are log-scaled.
    few: Vec<(Place, bool, Few<usize>)>,
    /// One-hot columns with their values, sorted.
    categories: Vec<(Place, Vec<f64>)>,
    /// For each encoded feature: what is subtracted, and by what the difference is divided.
    middles: Vec<f64>,
    scales: Vec<f64>,
}

impl Encoder {
    pub(super) fn new(columns: &[Scale]) -> Self {
        let mut encoder = Self::default();
        for (column, scale) in columns.iter().enumerate() {
            let place = Place { column, slot: encoder.middles.len() };
            match scale {
                Scale::Out => {}
                Scale::Number { log, middle, scale, few } => {
                    encoder.middles.push(*middle);
                    encoder.scales.push(*scale);
                    match few {
                        Some(few) => encoder.few.push((place, *log, few.clone())),
                        None if *log => encoder.log_scaled.push(place),
                        None => encoder.plain.push(place),
                    }
                }
                Scale::OneHot { values } => {
                    encoder.middles.extend(values.iter().map(|_| 0.0).chain([0.0]));
                    encoder.scales.resize(encoder.middles.len(), 1.0);
                    encoder.categories.push((place, values.clone()));
                }
            }
        }
        encoder
    }

    /// The number of encoded features.
    pub(super) fn width(&self) -> usize {
        self.middles.len()
    }

    /// Writes the encoded features of a raw row to `slots`, whose length is [`Self::width`]. An undefined number is the
    /// middle of its column.
    pub(super) fn encode(&self, row: &[f64], slots: &mut [f64]) {
        for &Place { column, slot } in &self.log_scaled {
            slots[slot] = defined(row[column]).map_or(self.middles[slot], log1p);
        }
        for &Place { column, slot } in &self.plain {
            slots[slot] = number(row[column], false).unwrap_or(self.middles[slot]);
        }
        for (Place { column, slot }, log, few) in &self.few {
            slots[*slot] = number(few.drawn(row[*column], row[few.count]), *log).unwrap_or(self.middles[*slot]);
        }
        for (Place { column, slot }, values) in &self.categories {
            let own = &mut slots[*slot..=*slot + values.len()];
            own.fill(0.0);
            if let Some(value) = defined(row[*column]) {
                own[values.binary_search_by(|v| v.total_cmp(&value)).unwrap_or(values.len())] = HOT;
            }
        }
        for ((slot, middle), scale) in slots.iter_mut().zip(&self.middles).zip(&self.scales) {
            *slot = ((*slot - middle) / scale).clamp(-CLIP, CLIP);
        }
    }
}

/// The value on its learnt scale, if it is defined.
pub(super) fn number(value: f64, log: bool) -> Option<f64> {
    defined(value).map(|value| if log { log1p(value) } else { value.clamp(-LARGEST_RATIO, LARGEST_RATIO) })
}
