//! The CPUs that this kernel may ever run on, by their numbers.

use std::fs;
use std::io::{self, ErrorKind};

use super::CaptureError;

/// Where the kernel lists them.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// Possible CPUs. Their numbers may have holes, as on hosts with sockets left empty: a table by CPU number needs a place
/// for every number up to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// How many there are.
    pub count: u32,
    /// One more than the highest number.
    pub numbers: u32,
}

impl Cpus {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Where the list cannot be read.
    pub fn possible() -> Result<Self, CaptureError> {
        let list = fs::read_to_string(POSSIBLE).and_then(|list| Self::parse(list.trim()));
        list.map_err(|error| CaptureError::File { file: POSSIBLE, error })
    }

    /// Reads a list of numbers and ranges, such as `0-3,8-11` (cpuset(7)).
    fn parse(list: &str) -> io::Result<Self> {
        let bad = || io::Error::new(ErrorKind::InvalidData, format!("{list:?} is no list of CPUs such as 0-3,8-11"));
        let mut cpus = Self { count: 0, numbers: 0 };
        for range in list.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().ok();
            let (first, last) = number(first).zip(number(last)).ok_or_else(bad)?;
            // Ranges are in order, and none touches the one before.
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
    fn the_highest_number_counts_not_how_many_there_are() {
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
    fn what_is_no_list_is_named() {
        for list in ["", "-", "0-", "a", "3-1", "0,0", "0-3,2", "0-4294967295", "0 1", "0:3"] {
            let error = Cpus::parse(list).expect_err(list).to_string();
            assert!(error.contains(&format!("{list:?}")) && error.contains("0-3,8-11"), "{error}");
        }
    }

    #[test]
    fn this_host_has_some() {
        let Cpus { count, numbers } = Cpus::possible().expect("Linux lists its CPUs");
        assert!(count >= 1 && numbers >= count);
    }
}
