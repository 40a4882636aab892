//! The rotation of output files: when a file ends, and the names of the files.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};

use crate::process::amounts::{Size, duration, size};

/// The condition at which a file ends and the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// One file for the whole run.
    Never,
    /// At multiples of this time since 1970, UTC. `1h` rotates at full hours.
    Every(Duration),
    /// At this size of the file, bytes.
    Bytes(u64),
}

/// The default for tables of a live run, as a killed run loses its incomplete files.
pub(super) const LIVE_TABLES: Rotation = Rotation::Every(Duration::from_secs(60));

/// The allowed time and size of a file.
const TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
const SIZE: RangeInclusive<u64> = 1 << 20..=1 << 40;

impl FromStr for Rotation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let time = duration(text, TIME).map(Self::Every);
        time.or_else(|_| size(text, SIZE).map(|Size(bytes)| Self::Bytes(bytes))).map_err(|_| {
            "a time (1s to 365d) or a size (1MiB to 1024GiB) with its unit, as in rotate=1h and rotate=100MB, or rotate=never"
                .to_owned()
        })
    }
}

impl Rotation {
    /// Whether a run writes several files.
    pub(super) fn rotates(self) -> bool {
        self != Self::Never
    }

    /// Whether a file of `bytes` bytes that started at `begun` ends at `now`. It also ends if the clock was set back to
    /// an earlier period.
    pub(super) fn ends(self, begun: SystemTime, now: SystemTime, bytes: u64) -> bool {
        match self {
            Self::Never => false,
            Self::Every(time) => count(begun, time) != count(now, time),
            Self::Bytes(limit) => bytes >= limit,
        }
    }
}

/// The number of whole periods of `time` since 1970.
fn count(at: SystemTime, time: Duration) -> u128 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() / time.as_nanos()
}

/// The name of a file that started at `begun`, made from the name of the output: `flows-20261129T112000Z.csv` from
/// `flows.csv`. Files that start in the same second get a number.
pub(super) fn name(place: &Path, begun: SystemTime, number: u32) -> PathBuf {
    let text = |part: Option<&OsStr>| part.unwrap_or_default().to_owned();
    let mut name = text(place.file_stem());
    name.push(DateTime::<Utc>::from(begun).format("-%Y%m%dT%H%M%SZ").to_string());
    if number > 0 {
        name.push(format!("_{number}"));
    }
    if let Some(extension) = place.extension() {
        name.push(".");
        name.push(extension);
    }
    place.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// 29 November 2026, 11:20:00 UTC.
    const TIME_OF_NAME: u64 = 1_795_951_200;

    #[test]
    fn names_have_the_time_before_the_extension() {
        let cases = [
            ("flows.csv", 0, "flows-20261129T112000Z.csv"),
            ("a/flows.csv", 1, "a/flows-20261129T112000Z_1.csv"),
            ("/a.b/flows", 12, "/a.b/flows-20261129T112000Z_12"),
            (".flows", 0, ".flows-20261129T112000Z"),
            ("flows.jsonl.txt", 0, "flows.jsonl-20261129T112000Z.txt"),
        ];
        for (place, number, expected) in cases {
            assert_eq!(name(Path::new(place), at(TIME_OF_NAME), number), Path::new(expected));
        }
    }

    #[test]
    fn a_rotation_is_a_time_a_size_or_never() {
        let hour = Rotation::Every(Duration::from_secs(3600));
        let cases = [("1h", hour), ("60m", hour), ("100MB", Rotation::Bytes(100_000_000)), ("never", Rotation::Never)];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "1", "h", "0s", "999ms", "366d", "1KB", "2000GiB", "-1h", "always"] {
            assert!(text.parse::<Rotation>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_ends_with_its_hour_its_size_or_the_run() {
        let hour = Rotation::Every(Duration::from_secs(3600));
        let begun = at(TIME_OF_NAME);
        assert!(!hour.ends(begun, at(TIME_OF_NAME + 2399), u64::MAX) && hour.ends(begun, at(TIME_OF_NAME + 2400), 0));
        assert!(hour.ends(begun, at(TIME_OF_NAME - 3600), 0), "the clock was set back");
        assert!(!Rotation::Bytes(10).ends(begun, at(0), 9) && Rotation::Bytes(10).ends(begun, begun, 10));
        assert!(!Rotation::Never.ends(begun, at(0), u64::MAX));
    }

    proptest! {
        /// No file spans two periods, whenever the writer checks.
        #[test]
        fn no_file_has_two_periods(period in 1_u64..100_000, begun in 0_u64..1 << 33, later in 0_u64..200_000) {
            let ends = Rotation::Every(Duration::from_secs(period)).ends(at(begun), at(begun + later), 0);
            prop_assert_eq!(ends, begun / period != (begun + later) / period);
        }

        /// The order of the names is the order of the times.
        #[test]
        fn names_are_in_order(one in 0_u64..1 << 33, later in 1_u64..1 << 30) {
            let name = |seconds| name(Path::new("flows.parquet"), at(seconds), 0);
            prop_assert!(name(one) < name(one + later));
        }
    }
}
