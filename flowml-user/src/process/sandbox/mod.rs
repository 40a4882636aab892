//! What a process keeps itself from, whatever it is made to do by what it reads: files and ports that were not named (Landlock),
//! system calls that its work does not need (seccomp), and programs with more privileges than its own.

mod calls;
mod filter;
mod reach;

use std::fs;

use landlock::{LandlockStatus, RestrictionStatus, RulesetStatus};
use rustix::thread::set_no_new_privs;

pub use self::reach::{Reach, version as landlock_version};

/// What Landlock confines besides files, and the version of its interface that does so first (landlock(7)).
const LATER: [(i32, &str); 4] =
    [(3, "cutting files off"), (4, "TCP ports"), (5, "requests to devices"), (6, "signals and abstract sockets")];

/// Why files are not confined, most of the time.
pub const WITHOUT_LANDLOCK: &str = "this kernel has no Landlock (Linux 5.13 and newer have it, where it is built in and named in the boot parameter lsm=)";

/// What became of [`confine`].
#[derive(Debug)]
pub struct Confined {
    /// Whether files that were not named are out of reach.
    pub enforced: bool,
    /// What this kernel lacks, in words.
    pub missing: Option<String>,
}

/// Confines this thread, and those that it starts from now on, to files and ports that were named; no program that it executes
/// has more privileges than this one. Before Linux 7.0 Landlock has no call for all threads of a process: it comes before the first
/// other thread.
pub fn confine(reach: &Reach) -> Confined {
    let unconfined =
        |why: String| Confined { enforced: false, missing: Some(format!("files are not confined: {why}")) };
    if let Err(error) = set_no_new_privs(true) {
        return unconfined(format!("new privileges cannot be refused: {error}"));
    }
    match reach.confine() {
        Err(error) => unconfined(error.to_string()),
        Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, landlock, .. }) => unconfined(why(&landlock)),
        Ok(_) => Confined { enforced: true, missing: landlock_version().and_then(lacks) },
    }
}

/// Filters the system calls of all threads of this process, those that are there and those that come.
///
/// # Errors
/// Why that cannot be, in words.
pub fn filter_calls() -> Result<(), String> {
    filter::install().map_err(|error| format!("system calls are not filtered: {error}"))
}

/// Whether this kernel has filters of system calls that answer with an error.
#[must_use]
pub fn has_filters() -> bool {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    actions.is_ok_and(|actions| actions.split_whitespace().any(|action| action == "errno"))
}

fn why(status: &LandlockStatus) -> String {
    match status {
        LandlockStatus::Available { .. } => "Landlock enforces nothing here".to_owned(),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => WITHOUT_LANDLOCK.to_owned(),
    }
}

/// What this version of Landlock does not confine.
#[must_use]
pub fn lacks(version: i32) -> Option<String> {
    let later: Vec<&str> = LATER.iter().filter(|(first, _)| version < *first).map(|(_, what)| *what).collect();
    let all = later.join(", ");
    (!later.is_empty()).then(|| format!("Landlock of this kernel (version {version}) does not confine {all}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_landlock_lacks_is_named() {
        assert_eq!(lacks(6), None);
        let four =
            "Landlock of this kernel (version 4) does not confine requests to devices, signals and abstract sockets";
        assert_eq!(lacks(4).as_deref(), Some(four));
        assert!(lacks(1).is_some_and(|text| text.contains("TCP ports")));
    }
}
