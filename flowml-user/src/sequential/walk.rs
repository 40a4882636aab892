//! The two sequential tests on which all others are based, and their bounds.
//!
//! - [`Walk`]: Wald's sequential probability ratio test of trials that succeed or fail (A. Wald, "Sequential tests of
//!   statistical hypotheses", Annals of Mathematical Statistics 16, 1945). If, whatever came before, each trial fails with at
//!   most the probability of the null hypothesis, the likelihood ratio is a supermartingale. The probability that one walk
//!   ever reaches `1/ALPHA` is then at most `ALPHA` (Ville's inequality).
//! - [`Cusum`]: Page's test for a change of a rate (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954), with
//!   the likelihood ratio of two Poisson rates. Each interval begins such a walk, so the probability of a false alarm in `n`
//!   intervals is at most `n · ALPHA`.

use serde::{Deserialize, Serialize};

/// The probability of a false alarm: for each walk, and for each interval of a [`Cusum`].
pub(super) const ALPHA: f64 = 1e-6;

/// −ln [`ALPHA`]: the logarithm of the likelihood ratio at which a test raises an alarm.
pub(super) const ENOUGH: f64 = 13.815_510_557_964_274;

/// ln 0.01: the logarithm of the likelihood ratio at which a walk ends for the null hypothesis and a new one begins.
const NORMAL: f64 = -4.605_170_185_988_091;

/// The probability of the event that counts as evidence, under both hypotheses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hypotheses {
    /// The largest probability in normal traffic.
    pub(super) normal: f64,
    /// The probability in an attack.
    pub(super) attack: f64,
}

/// The state of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// More trials are needed.
    Undecided,
    /// The traffic is normal, and the walk has started again.
    Normal,
    /// The traffic is an attack.
    Attack,
}

/// A sequence of trials.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Walk {
    log_ratio: f64,
}

impl Walk {
    /// Adds one trial.
    pub(super) fn step(&mut self, of: Hypotheses, is_evidence: bool) -> Stand {
        self.log_ratio +=
            if is_evidence { (of.attack / of.normal).ln() } else { ((1.0 - of.attack) / (1.0 - of.normal)).ln() };
        if self.log_ratio >= ENOUGH {
            // More evidence is not needed. Without the limit, a return to normal behaviour would be detected later.
            self.log_ratio = ENOUGH;
            Stand::Attack
        } else if self.log_ratio <= NORMAL {
            self.log_ratio = 0.0;
            Stand::Normal
        } else {
            Stand::Undecided
        }
    }
}

impl Walk {
    /// Whether there is no evidence of an attack yet.
    pub(super) fn is_at_start(self) -> bool {
        self.log_ratio <= 0.0
    }

    /// Whether half of the necessary evidence was collected.
    pub(super) fn is_half(self) -> bool {
        self.log_ratio >= ENOUGH / 2.0
    }
}

/// The assumed maximum burst: events come in trains of at most this number. The likelihood ratio is taken to the power
/// 1/`TRAIN`, so that the bound holds for the rate of trains.
const TRAIN: f64 = 16.0;

/// A test for a change of a rate from `normal` events per second to twice that.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Cusum {
    log_ratio: f64,
}

impl Cusum {
    /// Adds `count` events in `seconds`. They come in trains, and at most `normal` per second are normal. Returns
    /// whether there are too many.
    pub(super) fn step(&mut self, count: f64, seconds: f64, normal: f64) -> bool {
        self.add((count * std::f64::consts::LN_2 - normal * seconds) / TRAIN)
    }

    /// The same for independent events.
    pub(super) fn step_one_by_one(&mut self, count: f64, seconds: f64, normal: f64) -> bool {
        self.add(count * std::f64::consts::LN_2 - normal * seconds)
    }

    fn add(&mut self, change: f64) -> bool {
        self.log_ratio = (self.log_ratio + change).clamp(0.0, ENOUGH);
        self.log_ratio >= ENOUGH
    }

    /// Whether there is no evidence of a change.
    pub(super) fn is_at_rest(self) -> bool {
        self.log_ratio == 0.0
    }
}
