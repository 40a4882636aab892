//! Scales a row in straight loops over columns of one kind, which are made of the fitted scales.

use multiversion::multiversion;

use super::context::Context;
use super::defined::{defined, transformed};
use super::logarithm::ln_all;
use super::number::Number;
use super::parameters::{CLIP, HOT};

/// Number of logarithms that are computed at once. No row of a run has more log-scaled columns.
const AT_ONCE: usize = 64;

/// A column of raw rows, and its first encoded feature.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    column: usize,
    feature: usize,
}

/// Replaces each number by its difference from the middle, in units of the scale.
#[multiversion(targets("x86_64+avx2"))]
fn standardize(encoded: &mut [f64], middles: &[f64], scales: &[f64]) {
    for ((feature, middle), scale) in encoded.iter_mut().zip(middles).zip(scales) {
        *feature = ((*feature - middle) / scale).clamp(-CLIP, CLIP);
    }
}

/// The columns by kind. Most columns are not encoded, so a loop over all would spend its time on branches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Encoder {
    log_scaled: Vec<Place>,
    plain: Vec<Place>,
    /// Numbers that depend on another column, and whether they are log-scaled.
    dependent: Vec<(Place, bool, Context<usize>)>,
    /// One-hot columns with their values, sorted.
    categories: Vec<(Place, Vec<f64>)>,
    /// For each encoded feature: what is subtracted, and by what the difference is divided.
    middles: Vec<f64>,
    scales: Vec<f64>,
}

impl Encoder {
    /// Adds a number, which is column `column` of raw rows.
    pub(super) fn add_number(&mut self, column: usize, number: &Number<usize>) {
        let place = Place { column, feature: self.middles.len() };
        let &Number { log, middle, scale, .. } = number;
        self.middles.push(middle);
        self.scales.push(scale);
        match &number.context {
            Some(context) => self.dependent.push((place, log, context.clone())),
            None if log => self.log_scaled.push(place),
            None => self.plain.push(place),
        }
    }

    /// Adds a category with these values, which is column `column` of raw rows.
    pub(super) fn add_category(&mut self, column: usize, values: &[f64]) {
        let place = Place { column, feature: self.middles.len() };
        self.middles.extend(values.iter().map(|_| 0.0).chain([0.0]));
        self.scales.resize(self.middles.len(), 1.0);
        self.categories.push((place, values.to_vec()));
    }

    /// The number of encoded features.
    pub(super) fn width(&self) -> usize {
        self.middles.len()
    }

    /// Writes the encoded features of a raw row to `encoded`, whose length is [`Self::width`]. An undefined number is
    /// the middle of its column.
    pub(super) fn encode(&self, row: &[f64], encoded: &mut [f64]) {
        self.log_scaled.chunks(AT_ONCE).for_each(|places| self.encode_logarithms(places, row, encoded));
        for &Place { column, feature } in &self.plain {
            encoded[feature] = transformed(row[column], false).unwrap_or(self.middles[feature]);
        }
        for (Place { column, feature }, log, context) in &self.dependent {
            let number = context.number(row[*column], row[*context.column()]);
            encoded[*feature] = transformed(number, *log).unwrap_or(self.middles[*feature]);
        }
        for (Place { column, feature }, values) in &self.categories {
            let own = &mut encoded[*feature..=*feature + values.len()];
            own.fill(0.0);
            if let Some(value) = defined(row[*column]) {
                own[values.binary_search_by(|v| v.total_cmp(&value)).unwrap_or(values.len())] = HOT;
            }
        }
        standardize(encoded, &self.middles, &self.scales);
    }

    /// The same as [`transformed`], for several log-scaled numbers at once.
    fn encode_logarithms(&self, places: &[Place], row: &[f64], encoded: &mut [f64]) {
        let mut buffer = [0.0; AT_ONCE];
        let logarithms = &mut buffer[..places.len()];
        for (own, place) in logarithms.iter_mut().zip(places) {
            *own = 1.0 + defined(row[place.column]).unwrap_or(0.0).max(0.0);
        }
        ln_all(logarithms);
        for (own, &Place { column, feature }) in logarithms.iter().zip(places) {
            encoded[feature] = if defined(row[column]).is_some() { *own } else { self.middles[feature] };
        }
    }
}
