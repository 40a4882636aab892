//! Random times and choices of a simulated person.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::span::Span;
use crate::lab::IpVersion;

/// Exponent of the Pareto distribution of answer lengths: M. Crovella and A. Bestavros, "Self-similarity in World Wide
/// Web traffic", IEEE/ACM ToN 5(6), 1997, measured 1.1 to 1.3.
const TAIL: f64 = 1.2;

/// The random choices of a simulated user, who acts repeatedly until the end of a span.
#[derive(Debug)]
pub(crate) struct Rhythm {
    pub(crate) random: Xoshiro256PlusPlus,
    pub(crate) span: Span,
    /// Rate of actions relative to one person.
    pace: f64,
}

impl Rhythm {
    pub(crate) fn new(seed: u64, span: &Span, pace: f64) -> Self {
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed), span: span.clone(), pace }
    }

    /// Sleeps for an exponentially distributed time, with this mean at pace 1. Returns whether there is time left.
    pub(crate) fn pause(&mut self, mean_seconds: f64) -> bool {
        let uniform = 1.0 - self.random.r#gen::<f64>();
        // At most five means, so that a short run contains some of every activity.
        let seconds = mean_seconds / self.pace * (-uniform.ln()).min(5.0);
        self.span.sleep(Duration::from_secs_f64(seconds))
    }

    /// A random length in bytes, by the Pareto distribution.
    pub(crate) fn pareto(&mut self, least: u32, most: u32) -> u32 {
        let uniform = 1.0 - self.random.r#gen::<f64>();
        ((f64::from(least) * uniform.powf(-1.0 / TAIL)) as u32).min(most)
    }

    /// IPv6 with this probability, otherwise IPv4.
    pub(crate) fn version(&mut self, ipv6_share: f64) -> IpVersion {
        if self.random.gen_bool(ipv6_share) { IpVersion::V6 } else { IpVersion::V4 }
    }
}
