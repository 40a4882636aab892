//! The current time of the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current Unix time, ms. 0 if the clock is before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
