//! Who sends events: this host, and this run of the agent.

use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// This host, and this run of the agent.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) host: String,
    /// Unix time of its start, ms. All outputs of a run have the same.
    pub(super) begun_ms: u64,
}

impl Sender {
    pub(super) fn this() -> Self {
        static BEGUN_MS: OnceLock<u64> = OnceLock::new();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        let host = if name.is_empty() { "localhost" } else { name }.to_owned();
        Self { host, begun_ms: *BEGUN_MS.get_or_init(now) }
    }
}
