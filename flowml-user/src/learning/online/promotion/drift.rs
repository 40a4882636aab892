//! Detects that traffic has changed: too many recent rows are unusual.

use serde::{Deserialize, Serialize};

use crate::learning::online::verdict::{UNUSUAL, Verdict};

/// Traffic has changed if unusual rows are this many times as frequent as expected.
const DRIFT: f64 = 5.0;

/// Number of rows over which the fraction of unusual rows is computed. Older ones are down-weighted.
const DRIFT_ROWS: f64 = 2000.0;

/// The ratio of unusual rows among recent rows.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Drift {
    rows: f64,
    unusual: f64,
}

impl Drift {
    /// Adds a batch. Returns the fraction of unusual rows if it is too high.
    pub(super) fn observe(&mut self, verdicts: &[Option<Verdict>]) -> Option<f64> {
        let decay = (1.0 - verdicts.len() as f64 / DRIFT_ROWS).max(0.0);
        let unusual = verdicts.iter().flatten().filter(|verdict| verdict.is_unusual()).count();
        self.rows = self.rows * decay + verdicts.iter().flatten().count() as f64;
        self.unusual = self.unusual * decay + unusual as f64;
        let part = self.unusual / self.rows.max(1.0);
        (self.rows >= DRIFT_ROWS / 4.0 && part > DRIFT * UNUSUAL).then_some(part)
    }
}
