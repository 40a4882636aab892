//! The current time of the system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The current Unix time, ms. 0 if the clock is before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    now().as_millis() as u64
}

/// The current Unix time, µs. 0 if the clock is before 1970.
#[must_use]
pub fn now_us() -> u64 {
    now().as_micros() as u64
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
