//! The capabilities of a thread (capabilities(7)): asked for, set aside, given up.

use std::io;

pub use rustix::thread::CapabilitySet;
use rustix::thread::{CapabilitySets, capabilities, set_capabilities};

/// What metering begins with: CAP_BPF to load, CAP_PERFMON for pointers in the programs, CAP_NET_ADMIN to attach.
pub const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
];

/// What this thread may do now.
///
/// # Errors
/// Where the kernel has no capabilities of this version.
pub fn effective() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// The capabilities that metering begins with and `there` lacks; CAP_SYS_ADMIN stands for two of them (capabilities(7)).
#[must_use]
pub fn missing(there: CapabilitySet) -> Vec<&'static str> {
    let stands_in = |needed| needed != CapabilitySet::NET_ADMIN && there.contains(CapabilitySet::SYS_ADMIN);
    let lacking = NEEDED.iter().filter(|(needed, _)| !there.contains(*needed) && !stands_in(*needed));
    lacking.map(|(_, name)| *name).collect()
}

/// Does `work` as one who has no capabilities, and has them again afterwards.
///
/// # Errors
/// Where the kernel refuses to change them.
pub fn without<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..sets })?;
    let done = work();
    set_capabilities(None, sets)?;
    Ok(done)
}

/// Gives up, for ever, all capabilities of this thread and of those that it starts from now on, but `kept`.
///
/// # Errors
/// Where the kernel refuses, which it does not where nothing is gained.
pub fn keep(kept: CapabilitySet) -> io::Result<()> {
    let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
    let sets = CapabilitySets {
        effective: effective & kept,
        permitted: permitted & kept,
        // The ambient ones go with the inheritable ones.
        inheritable: inheritable & kept,
    };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// In a thread of its own, as capabilities are a thread's.
    fn alone(test: impl FnOnce() + Send + 'static) {
        thread::spawn(test).join().expect("the thread's assertions hold");
    }

    #[test]
    fn what_was_set_aside_comes_back_and_what_was_given_up_does_not() {
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
