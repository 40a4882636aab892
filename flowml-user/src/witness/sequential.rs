//! The two sequential tests that all others are made of, and their bounds.
//!
//! - [`Walk`]: Wald's sequential probability ratio test of trials that succeed or fail (A. Wald, "Sequential tests of
//!   statistical hypotheses", Annals of Mathematical Statistics 16, 1945). Where each trial fails with at most the probability
//!   of the null hypothesis whatever came before, the likelihood ratio is a supermartingale: the chance that one walk ever
//!   reaches `1/ALPHA` is at most `ALPHA` (Ville's inequality).
//! - [`Cusum`]: Page's test for a change of a rate (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954) by the
//!   likelihood ratio of two Poisson rates. Each interval begins such a walk, so the chance of a false alarm in `n` intervals is
//!   at most `n · ALPHA`.

use serde::{Deserialize, Serialize};

/// The chance of a false alarm: for each walk, and for each interval of a [`Cusum`].
pub(super) const ALPHA: f64 = 1e-6;

/// −ln [`ALPHA`]: the logarithm of a likelihood ratio that is enough.
pub(super) const ENOUGH: f64 = 13.815_510_557_964_274;

/// ln 0.01: the logarithm of a likelihood ratio at which a walk ends for the null hypothesis, and a new one begins.
const ORDINARY: f64 = -4.605_170_185_988_091;

/// How probable the event that counts as evidence is, at most where all is ordinary, and where it is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hypotheses {
    /// At most so, where all is ordinary.
    pub(super) ordinary: f64,
    /// So, where it is not.
    pub(super) attack: f64,
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// More must be seen.
    Undecided,
    /// All is ordinary, and the walk has begun again.
    Ordinary,
    /// It is not.
    Attack,
}

/// A sequence of trials.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Walk {
    log_ratio: f64,
}

impl Walk {
    /// Takes one more trial.
    pub(super) fn step(&mut self, of: Hypotheses, is_evidence: bool) -> Stand {
        self.log_ratio +=
            if is_evidence { (of.attack / of.ordinary).ln() } else { ((1.0 - of.attack) / (1.0 - of.ordinary)).ln() };
        if self.log_ratio >= ENOUGH {
            // More of the same is nothing new, and a return to ordinary behaviour is seen as soon as that of others.
            self.log_ratio = ENOUGH;
            Stand::Attack
        } else if self.log_ratio <= ORDINARY {
            self.log_ratio = 0.0;
            Stand::Ordinary
        } else {
            Stand::Undecided
        }
    }
}

impl Walk {
    /// Whether nothing speaks for an attack: evidence that follows is the first.
    pub(super) fn is_at_start(self) -> bool {
        self.log_ratio <= 0.0
    }

    /// Whether half of the evidence is there.
    pub(super) fn is_half(self) -> bool {
        self.log_ratio >= ENOUGH / 2.0
    }
}

/// Events are no burstier than trains of so many: the likelihood ratio is taken to the power 1/`TRAIN`,
/// which makes the bound hold for rates of trains.
const TRAIN: f64 = 16.0;

/// A rate that is watched for a change from `ordinary`, a second, to twice that.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Cusum {
    log_ratio: f64,
}

impl Cusum {
    /// Takes `count` events in `seconds`, which come in trains, where at most `ordinary` a second are. Returns whether that is
    /// too many.
    pub(super) fn step(&mut self, count: f64, seconds: f64, ordinary: f64) -> bool {
        self.add((count * std::f64::consts::LN_2 - ordinary * seconds) / TRAIN)
    }

    /// The same of events that come one by one.
    pub(super) fn step_one_by_one(&mut self, count: f64, seconds: f64, ordinary: f64) -> bool {
        self.add(count * std::f64::consts::LN_2 - ordinary * seconds)
    }

    fn add(&mut self, change: f64) -> bool {
        self.log_ratio = (self.log_ratio + change).clamp(0.0, ENOUGH);
        self.log_ratio >= ENOUGH
    }

    /// Whether nothing speaks for a change.
    pub(super) fn is_at_rest(self) -> bool {
        self.log_ratio == 0.0
    }
}
