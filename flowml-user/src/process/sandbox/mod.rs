//! The restrictions that a process puts on itself, against attacks through its inputs.
//!
//! It cannot reach files and ports that were not named (Landlock), cannot make system calls that its work does not need
//! (seccomp), and cannot execute programs with more privileges than its own.

mod calls;
mod filter;
mod reach;

use std::fs;

use landlock::{LandlockStatus, RestrictionStatus, RulesetStatus};
use rustix::thread::set_no_new_privs;

pub use self::reach::{Reach, version as landlock_version};

/// The restrictions of Landlock besides files, each with the first version of its interface that has it (landlock(7)).
const LATER: [(i32, &str); 4] =
    [(3, "truncation of files"), (4, "TCP ports"), (5, "ioctl on devices"), (6, "signals and abstract sockets")];

/// The most frequent reason why access to files is not restricted.
pub const WITHOUT_LANDLOCK: &str = "this kernel has no Landlock (Linux 5.13 and newer have it, if it is built in and named in the boot parameter lsm=)";

/// The result of [`confine`].
#[derive(Debug)]
pub struct Confined {
    /// Whether files that were not named are out of reach.
    pub enforced: bool,
    /// The restrictions that this kernel does not have, as a text.
    pub missing: Option<String>,
}

/// Confines this thread, and the threads that it starts from now on, to the files and ports of `reach`. No program that
/// they execute gets more privileges than this process has. Call it before the first other thread starts: before Linux
/// 7.0 Landlock has no call that restricts all threads of a process.
pub fn confine(reach: &Reach) -> Confined {
    let unconfined =
        |why: String| Confined { enforced: false, missing: Some(format!("files are not confined: {why}")) };
    if let Err(error) = set_no_new_privs(true) {
        return unconfined(format!("no_new_privs cannot be set: {error}"));
    }
    match reach.confine() {
        Err(error) => unconfined(error.to_string()),
        Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, landlock, .. }) => unconfined(why(&landlock)),
        Ok(_) => Confined { enforced: true, missing: landlock_version().and_then(lacks) },
    }
}

/// Filters the system calls of all existing and future threads of this process.
///
/// # Errors
/// The reason as a text, if the kernel refuses the filter.
pub fn filter_calls() -> Result<(), String> {
    filter::install().map_err(|error| format!("system calls are not filtered: {error}"))
}

/// Whether this kernel has filters of system calls that can return an error.
#[must_use]
pub fn has_filters() -> bool {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    actions.is_ok_and(|actions| actions.split_whitespace().any(|action| action == "errno"))
}

fn why(status: &LandlockStatus) -> String {
    match status {
        LandlockStatus::Available { .. } => "Landlock enforces nothing on this host".to_owned(),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => WITHOUT_LANDLOCK.to_owned(),
    }
}

/// The restrictions that this version of Landlock does not have. `None` if it has all.
#[must_use]
pub fn lacks(version: i32) -> Option<String> {
    let later: Vec<&str> = LATER.iter().filter(|(first, _)| version < *first).map(|(_, what)| *what).collect();
    let all = later.join(", ");
    (!later.is_empty()).then(|| format!("Landlock of this kernel (version {version}) does not restrict {all}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_features_of_an_older_landlock_are_named() {
        assert_eq!(lacks(6), None);
        let four =
            "Landlock of this kernel (version 4) does not restrict ioctl on devices, signals and abstract sockets";
        assert_eq!(lacks(4).as_deref(), Some(four));
        assert!(lacks(1).is_some_and(|text| text.contains("TCP ports")));
    }
}
