//! The priority of a thread: its nice value (setpriority(2), which acts on one thread on Linux).
//!
//! A new thread has the nice value of the thread that starts it. A lower value needs CAP_SYS_NICE or a limit that
//! permits it (RLIMIT_NICE, `LimitNICE=` of systemd). If the kernel refuses a value, the thread keeps the one it has.

use rustix::process::{getpriority_process, setpriority_process};

/// The lowest nice value, for the highest priority.
const HIGHEST: i32 = -20;

/// A nice value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nice(i32);

impl Nice {
    /// The value of this thread.
    #[must_use]
    pub(crate) fn of_this_thread() -> Self {
        Self(getpriority_process(None).unwrap_or(0))
    }

    /// A value that is lower by `steps`. Each step gives a thread about a quarter more CPU time.
    #[must_use]
    pub(crate) const fn before(self, steps: i32) -> Self {
        let value = self.0 - steps;
        Self(if value < HIGHEST { HIGHEST } else { value })
    }

    /// Gives this thread the value, if the kernel permits it.
    pub(crate) fn apply(self) {
        // Without it the thread only waits longer for a CPU.
        let _ = setpriority_process(None, self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_may_always_go_back_to_a_lower_priority() {
        let usual = Nice::of_this_thread();
        let (raised, back) = thread::spawn(move || {
            usual.before(5).apply();
            let raised = Nice::of_this_thread();
            // A thread that it starts has the same value.
            let back = thread::spawn(move || {
                usual.apply();
                Nice::of_this_thread()
            });
            (raised, back.join().expect("no panic"))
        })
        .join()
        .expect("no panic");
        assert!([usual.before(5), usual].contains(&raised), "{raised:?}");
        assert_eq!((back, Nice::of_this_thread()), (usual, usual));
        assert_eq!(Nice(-15).before(10), Nice(HIGHEST));
    }
}
