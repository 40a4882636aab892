//! Who sends events: this host.

use std::fs;

/// This host.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) host: String,
}

impl Sender {
    pub(super) fn this() -> Self {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        Self { host: if name.is_empty() { "localhost" } else { name }.to_owned() }
    }
}
