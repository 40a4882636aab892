//! The time limits of the soak test.

use std::time::Duration;

/// Longest time for a step on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Longest time for the agent to write the rest at its end.
pub(super) const END_LIMIT: Duration = Duration::from_secs(180);
