//! The parameters of preprocessing, and the constants that are tuned for flowml's features.

use serde::{Deserialize, Serialize};

use crate::learning::checked::{Checked, Outcome, SMALLEST, WEIGHTS, amount, checked, within};

/// The largest distance of a value from the middle, in scales. One absurd value must not outweigh several columns that
/// agree. A thousand ports where five are typical (z about 15) must keep their weight.
pub(super) const CLIP: f64 = 20.0;

/// The value of a category's encoded feature. Two rows of different categories are `√2` times this apart.
pub(super) const HOT: f64 = 1.5;

/// The largest magnitude of an encoded feature of the learner of a run, whose numbers are clipped.
pub(crate) const LARGEST_ENCODED: f64 = CLIP.max(HOT);

/// The largest magnitude of an encoded feature of a table. Squares and sums of such values are finite.
pub(super) const LARGEST_SLOT: f64 = 1e20;

/// The smallest scales of numbers. They decide what counts as a change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Floors {
    /// For a log-scaled number, in units of `log1p`.
    pub log_scaled: f64,
    /// For a ratio, an entropy, or any other number.
    pub ratio: f64,
}

checked!(Floors);

impl Checked for Floors {
    const NAME: &str = "floors";

    fn check(&self) -> Outcome {
        within("log_scaled", self.log_scaled, amount())?;
        within("ratio", self.ratio, amount())
    }
}

impl Floors {
    /// For flowml's features. A quarter more or less of a log-scaled number is no change. Ratios over few packets jump
    /// between 0 and 1 (one unanswered query): a ratio that was constant in the warm-up and jumps to its other end is
    /// five scales away, and a thousand flows where four are typical are twenty scales away.
    ///
    /// A column that is constant in the warm-up set is kept. Scans and floods show first in columns that normal traffic
    /// hardly changes (RST ratio, unanswered flows).
    pub(crate) const OF_FEATURES: Self = Self { log_scaled: 0.25, ratio: 0.2 };

    pub(super) const fn of(self, log_scaled: bool) -> f64 {
        if log_scaled { self.log_scaled } else { self.ratio }
    }
}

/// The weights in a squared distance of values below their centroid. Values above have weight 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Below {
    /// For a log-scaled number.
    pub log_scaled: f64,
    /// For a ratio or an entropy.
    pub ratio: f64,
}

checked!(Below);

impl Checked for Below {
    const NAME: &str = "below";

    fn check(&self) -> Outcome {
        within("log_scaled", self.log_scaled, WEIGHTS)?;
        within("ratio", self.ratio, WEIGHTS)
    }
}

impl Below {
    /// Equal weights: low values are as unusual as high ones. A flow without an answer, for example, has low values in
    /// most columns.
    pub(crate) const EVEN: Self = Self { log_scaled: 1.0, ratio: 1.0 };

    /// Low weights: values of normal hosts are low whenever they pause. With equal weights, the farthest normal host
    /// windows would be idle moments, whose wide tail would hide scans and floods. A lower ratio or entropy can be a
    /// sign (a flood on one port), but rarely is.
    pub(crate) const PAUSES: Self = Self { log_scaled: 0.1, ratio: 0.3 };

    pub(super) const fn of(self, log_scaled: bool) -> f64 {
        if log_scaled { self.log_scaled } else { self.ratio }
    }
}

/// The scaling of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// Mean 0, standard deviation 1.
    Standard,
    /// From 0 to 1.
    MinMax,
    /// Median 0; the spread is the larger of the estimates from the middle half and from the middle 90 % of the values.
    #[default]
    Robust,
}

/// The value of the encoded feature of a category.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Height {
    /// 1 for every category.
    Unit,
    /// `1/√p` for a category with the fraction `p` of the rows, and at most this value. The distance of two rows is
    /// then their χ² distance, as in correspondence analysis (Greenacre 1984), and rare categories are far away.
    Rarity(f64),
}

/// The parameters with which preprocessing is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Parameters {
    /// The scaling of numbers.
    pub scaling: Scaling,
    /// The value of the encoded feature of a category.
    pub height: Height,
    /// The smallest scales of numbers. Not used by min-max scaling.
    pub floors: Floors,
    /// The largest distance of a number from the middle, in scales, at most 10²⁰.
    pub clip: f64,
    /// The weights of values below their centroid.
    pub below: Below,
    /// Whether a constant number is an encoded feature. A later change of it can then be a sign of an anomaly.
    pub keep_constants: bool,
}

checked!(Parameters);

impl Checked for Parameters {
    const NAME: &str = "parameters";

    fn check(&self) -> Outcome {
        if let Height::Rarity(most) = self.height {
            within("rarity", most, SMALLEST..=LARGEST_SLOT)?;
        }
        within("clip", self.clip, SMALLEST..=LARGEST_SLOT)
    }
}

impl Parameters {
    /// For detectors of any columns. Nothing is known about these columns, so values below and above the typical ones
    /// have equal weight.
    #[must_use]
    pub(crate) const fn for_detectors(scaling: Scaling) -> Self {
        Self {
            scaling,
            height: Height::Rarity(20.0),
            floors: Floors { log_scaled: 0.1, ratio: 0.05 },
            clip: 10.0,
            below: Below::EVEN,
            keep_constants: true,
        }
    }

    /// For detectors if all columns are features of flowml, with the constants of the live learner.
    #[must_use]
    pub(crate) const fn for_detectors_of_features(scaling: Scaling) -> Self {
        Self { height: Height::Rarity(HOT), floors: Floors::OF_FEATURES, clip: CLIP, ..Self::for_detectors(scaling) }
    }

    /// For classifiers, which find the weights of encoded features themselves.
    #[must_use]
    pub const fn for_classifiers(scaling: Scaling) -> Self {
        Self {
            scaling,
            height: Height::Unit,
            floors: Floors { log_scaled: 1e-9, ratio: 1e-9 },
            clip: LARGEST_SLOT,
            below: Below::EVEN,
            keep_constants: false,
        }
    }
}
