//! Properties of the kernel: its release, and whether programs on one CPU can preempt each other.

use std::fs::{self, File};
use std::io::Read as _;

use flate2::read::GzDecoder;

/// The first release in which a PREEMPT_RT kernel can be built without the lock that excludes bottom halves of one CPU
/// from each other (PREEMPT_RT_NEEDS_BH_LOCK, kernel/Kconfig.preempt). Earlier ones always have the lock.
const LOCK_IS_A_CHOICE: (u32, u32) = (6, 18);

/// The option of the kernel's configuration for this lock.
const LOCK: &str = "CONFIG_PREEMPT_RT_NEEDS_BH_LOCK";

/// The release of the running kernel, as in `uname -r`.
#[must_use]
pub fn release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// An identifier that changes each time the host starts. Empty if the kernel does not provide it.
#[must_use]
pub fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// Major and minor number of a release such as `6.18.5-amd64`.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The protection of a counting program from other programs on the same CPU. Programs run with bottom halves off, and
/// write to the counters of their CPU without atomic operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preemption {
    /// Nothing else runs with bottom halves off: the kernel is not PREEMPT_RT.
    Disabled,
    /// PREEMPT_RT: tasks preempt each other, but a lock allows only one of them to have bottom halves off.
    Locked,
    /// PREEMPT_RT without the lock: there is no protection.
    Possible,
    /// PREEMPT_RT with an unknown configuration.
    Unknown,
}

impl Preemption {
    /// The state of the running kernel.
    #[must_use]
    pub fn of_kernel() -> Self {
        let realtime = fs::read_to_string("/sys/kernel/realtime").is_ok_and(|text| text.trim() == "1");
        let release = release();
        Self::new(realtime, version(&release), config(&release).as_deref())
    }

    /// The state that follows from PREEMPT_RT, version and configuration.
    fn new(realtime: bool, version: Option<(u32, u32)>, config: Option<&str>) -> Self {
        let has = |line: &str| config.is_some_and(|config| config.lines().any(|found| found.trim() == line));
        let lacks_choice = version.is_some_and(|version| version < LOCK_IS_A_CHOICE);
        // The configuration is checked before the version, because distributions backport changes to older kernels.
        match realtime {
            false => Self::Disabled,
            true if has(&format!("{LOCK}=y")) => Self::Locked,
            true if has(&format!("# {LOCK} is not set")) => Self::Possible,
            true if lacks_choice => Self::Locked,
            true => Self::Unknown,
        }
    }
}

/// The configuration of the running kernel, from the kernel itself or from the file of the distribution.
fn config(release: &str) -> Option<String> {
    let of_kernel = || {
        let mut text = String::new();
        GzDecoder::new(File::open("/proc/config.gz").ok()?).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let files = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    of_kernel().or_else(|| files.iter().find_map(|file| fs::read_to_string(file).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_parsed() {
        assert_eq!(version("6.18.5-amd64"), Some((6, 18)));
        assert_eq!(version("5.15+"), Some((5, 15)));
        assert_eq!(version("homegrown"), None);
        assert!(!release().is_empty());
    }

    #[test]
    fn preemption_follows_from_the_kernel_and_its_configuration() {
        use Preemption::{Disabled, Locked, Possible, Unknown};
        let with = Some("CONFIG_PREEMPT_RT=y\nCONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y\n");
        let without = Some("CONFIG_PREEMPT_RT=y\n# CONFIG_PREEMPT_RT_NEEDS_BH_LOCK is not set\n");
        let silent = Some("CONFIG_PREEMPT_RT=y\n");
        let cases = [
            (false, Some((6, 18)), without, Disabled),
            (false, None, None, Disabled),
            (true, Some((6, 18)), with, Locked),
            (true, Some((6, 18)), without, Possible),
            (true, Some((6, 18)), silent, Unknown),
            (true, Some((7, 0)), None, Unknown),
            (true, None, None, Unknown),
            (true, Some((6, 12)), None, Locked),
            (true, Some((6, 12)), silent, Locked),
            // Backported by a distribution.
            (true, Some((6, 12)), without, Possible),
            (true, None, with, Locked),
        ];
        for (realtime, version, config, expected) in cases {
            assert_eq!(Preemption::new(realtime, version, config), expected, "{realtime} {version:?} {config:?}");
        }
    }
}
