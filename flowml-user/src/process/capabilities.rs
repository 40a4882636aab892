//! The capabilities of a thread (capabilities(7)): reading them, suspending them, dropping them.

use std::io;

pub use rustix::thread::CapabilitySet;
use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// The capabilities that metering needs at its start: CAP_BPF to load, CAP_PERFMON for pointers in the programs,
/// CAP_NET_ADMIN to attach.
pub const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
];

/// The effective capabilities of this thread.
///
/// # Errors
/// If the kernel does not support this version of capabilities.
pub fn effective() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Names of the capabilities that metering needs at its start and that `there` lacks. CAP_SYS_ADMIN includes two of
/// them (capabilities(7)).
#[must_use]
pub fn missing(there: CapabilitySet) -> Vec<&'static str> {
    let stands_in = |needed| needed != CapabilitySet::NET_ADMIN && there.contains(CapabilitySet::SYS_ADMIN);
    let lacking = NEEDED.iter().filter(|(needed, _)| !there.contains(*needed) && !stands_in(*needed));
    lacking.map(|(_, name)| *name).collect()
}

/// Runs `work` without effective capabilities, and restores them afterwards.
///
/// # Errors
/// If the kernel refuses to change them.
pub fn without<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..sets })?;
    let done = work();
    set_capabilities(None, sets)?;
    Ok(done)
}

/// Drops all capabilities except `kept` of this thread, permanently. Threads that it starts from now on do not have
/// them either.
///
/// # Errors
/// If the kernel refuses. It does not refuse a change that adds no capability.
pub fn keep(kept: CapabilitySet) -> io::Result<()> {
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    let sets = CapabilitySets {
        effective: effective & kept,
        permitted: permitted & kept,
        // The kernel drops the ambient ones together with the inheritable ones.
        inheritable: inheritable & kept,
    };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// In a thread of its own, because capabilities belong to a thread.
    fn alone(test: impl FnOnce() + Send + 'static) {
        thread::spawn(test).join().expect("the thread's assertions hold");
    }

    #[test]
    fn suspended_capabilities_are_restored_and_dropped_ones_are_not() {
        alone(|| {
            let before = effective().expect("capget");
            assert_eq!(without(effective).expect("capset").expect("capget"), CapabilitySet::empty());
            assert_eq!(effective().expect("capget"), before);
            keep(CapabilitySet::DAC_OVERRIDE).expect("capset");
            let left = capabilities(None).expect("capget");
            assert!(CapabilitySet::DAC_OVERRIDE.contains(left.effective | left.permitted | left.inheritable));
            if !before.is_empty() {
                let raised = CapabilitySets { effective: before, permitted: before, inheritable: before };
                assert!(before == left.effective || set_capabilities(None, raised).is_err());
            }
        });
    }
}
