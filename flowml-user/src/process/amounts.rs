//! Durations and sizes as the user writes them.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The units of a duration with their length in ms, the largest last.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses a duration, as in `90s`.
///
/// # Errors
/// The expected value.
pub fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let ms = number_of(text, &UNITS);
    let within = format!("{} to {}", spell(*range.start()), spell(*range.end()));
    let Some(ms) = ms else {
        return Err(format!("expected a whole number and its unit (ms, s, m, h, d), {within}"));
    };
    let value = Duration::from_millis(ms);
    if range.contains(&value) { Ok(value) } else { Err(format!("expected {within}")) }
}

/// A duration in the largest unit that gives a whole number. The smallest unit is ms.
#[must_use]
pub(crate) fn spell(duration: Duration) -> String {
    let ms = duration.as_millis();
    let exact = UNITS.iter().rev().find(|(_, unit)| ms.is_multiple_of(u128::from(*unit)) && ms > 0);
    exact.map_or_else(|| format!("{ms}ms"), |(name, unit)| format!("{}{name}", ms / u128::from(*unit)))
}

/// The units of a size, in bytes.
const SIZES: [(&str, u64); 6] =
    [("KB", 1000), ("KiB", 1 << 10), ("MB", 1_000_000), ("MiB", 1 << 20), ("GB", 1_000_000_000), ("GiB", 1 << 30)];

/// A size in bytes. It is written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Parses a size, as in `100MB`.
///
/// # Errors
/// The expected value.
pub fn size(text: &str, range: RangeInclusive<u64>) -> Result<Size, String> {
    let bytes = number_of(text, &SIZES);
    let within = format!("{}MiB to {}GiB", range.start() >> 20, range.end() >> 30);
    let Some(bytes) = bytes else {
        return Err(format!("expected a whole number and its unit (KB, MB, GB, KiB, MiB, GiB), {within}"));
    };
    if range.contains(&bytes) { Ok(Size(bytes)) } else { Err(format!("expected {within}")) }
}

/// A whole number followed by one of the units, converted to the smallest unit.
fn number_of(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, unit) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_was_read() {
        for text in ["1ms", "10ms", "1500ms", "2s", "1m", "90s", "2h", "1d", "365d"] {
            let value = duration(text, Duration::ZERO..=Duration::MAX).expect(text);
            assert_eq!(spell(value), text);
        }
    }
}
