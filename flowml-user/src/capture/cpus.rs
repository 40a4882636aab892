//! The numbers of the CPUs that this kernel may use.

use std::fs;
use std::io::{self, ErrorKind};

use super::error::CaptureError;

/// The kernel's list of these CPUs.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// Possible CPUs. Their numbers may have gaps, as on hosts with empty sockets. A table by CPU number needs space for
/// every number up to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// Number of CPUs.
    pub count: u32,
    /// The highest number plus one.
    pub numbers: u32,
}

impl Cpus {
    /// Reads the list of the kernel.
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn possible() -> Result<Self, CaptureError> {
        let list = fs::read_to_string(POSSIBLE).and_then(|list| Self::parse(list.trim()));
        list.map_err(|error| CaptureError::File { file: POSSIBLE, error })
    }

    /// Parses a list of numbers and ranges, such as `0-3,8-11` (cpuset(7)).
    fn parse(list: &str) -> io::Result<Self> {
        let bad = || io::Error::new(ErrorKind::InvalidData, format!("{list:?} is not a list of CPUs such as 0-3,8-11"));
        let mut cpus = Self { count: 0, numbers: 0 };
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().ok();
            let (first, last) = number(first).zip(number(last)).ok_or_else(bad)?;
            // Ranges are in ascending order and do not overlap.
            if last < first || first < cpus.numbers || last == u32::MAX {
                return Err(bad());
            }
            cpus = Self { count: cpus.count + (last - first + 1), numbers: last + 1 };
        }
        Ok(cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_places_follows_from_the_highest_number() {
        let cases = [
            ("0", 1, 1),
            ("0-1", 2, 2),
            ("0-3,8-11", 8, 12),
            ("0,2,4-5", 4, 6),
            ("1", 1, 2),
            ("0-8191", 8192, 8192),
            ("3-3", 1, 4),
        ];
        for (list, count, numbers) in cases {
            assert_eq!(Cpus::parse(list).expect(list), Cpus { count, numbers }, "{list}");
        }
    }

    #[test]
    fn an_invalid_list_is_named_in_the_error() {
        for list in ["", "-", "0-", "a", "3-1", "0,0", "0-3,2", "0-4294967295", "0 1", "0:3"] {
            let error = Cpus::parse(list).expect_err(list).to_string();
            assert!(error.contains(&format!("{list:?}")) && error.contains("0-3,8-11"), "{error}");
        }
    }

    #[test]
    fn this_host_has_cpus() {
        let Cpus { count, numbers } = Cpus::possible().expect("Linux lists its CPUs");
        assert!(count >= 1 && numbers >= count);
    }
}
