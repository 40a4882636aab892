//! Times on axes and in texts, in UTC.

use std::ops::Range;

use chrono::DateTime;

/// The possible distances between labels of an axis, ms.
const STEPS: [f64; 28] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, // ms
    1e3, 2e3, 5e3, 1e4, 3e4, // s
    6e4, 1.2e5, 3e5, 6e5, 1.8e6, // min
    3.6e6, 7.2e6, 1.08e7, 2.16e7, 4.32e7, // h
    8.64e7, 1.728e8, 6.048e8, 2.592e9, // d
];

const SECOND: f64 = 1e3;
const MINUTE: f64 = 6e4;
const DAY: f64 = 8.64e7;

/// Maximum number of labels on an axis.
const MOST: f64 = 8.0;

/// The positions and the format of an axis's labels.
pub(super) struct Ticks {
    /// Positions, Unix time in ms.
    pub(super) at: Vec<f64>,
    /// The format, in chrono's syntax.
    pub(super) format: &'static str,
}

impl Ticks {
    /// The labels of a time axis, Unix time in ms.
    pub(super) fn of(time: &Range<f64>) -> Self {
        let span = time.end - time.start;
        let longest = STEPS[STEPS.len() - 1];
        let whole = (span / longest / MOST).ceil().max(1.0) * longest;
        let step = STEPS.into_iter().find(|step| span / step <= MOST).unwrap_or(whole);
        let first = (time.start / step).ceil();
        let at = (0..).map(|n| (first + f64::from(n)) * step).take_while(|at| *at <= time.end).collect();
        let days = (time.start / DAY).floor() != (time.end / DAY).floor();
        let format = match step {
            step if step < SECOND => "%H:%M:%S%.3f",
            step if step < MINUTE => "%H:%M:%S",
            step if step < DAY && !days => "%H:%M",
            step if step < DAY => "%m-%d %H:%M",
            _ => "%Y-%m-%d",
        };
        Self { at, format }
    }
}

/// A Unix time in ms in a format of chrono. A time outside the calendar is shown as a number.
pub(super) fn time_text(unix_ms: f64, format: &str) -> String {
    let time = DateTime::from_timestamp_millis(unix_ms as i64);
    time.map_or_else(|| format!("{unix_ms} ms"), |time| time.format(format).to_string())
}

/// Date and time of a Unix time in ms, to the second, UTC.
#[must_use]
pub(crate) fn date_and_time(unix_ms: f64) -> String {
    time_text(unix_ms, "%Y-%m-%d %H:%M:%S")
}

/// A duration in ms, in a fitting unit.
#[must_use]
pub(crate) fn length_of_time(ms: f64) -> String {
    match ms {
        ms if ms < SECOND => format!("{ms:.0} ms"),
        ms if ms < 2.0 * MINUTE => format!("{:.1} s", ms / SECOND),
        ms if ms < 120.0 * MINUTE => format!("{:.1} min", ms / MINUTE),
        ms if ms < 2.0 * DAY => format!("{:.1} h", ms / 60.0 / MINUTE),
        ms => format!("{:.1} d", ms / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_few_round_times() {
        let begin = 1_700_000_000_000.0;
        for (span, count, first) in [
            (7.0, 8, "22:13:20.000"),
            (60_000.0, 7, "22:13:20"),
            (3.0 * 3.6e6, 6, "11-14 22:30"),
            (26.0 * 3.6e6, 5, "11-15 00:00"),
            (40.0 * DAY, 6, "2023-11-16"),
            (9000.0 * DAY, 8, "2026-03-08"),
        ] {
            let ticks = Ticks::of(&(begin..begin + span));
            let text = time_text(ticks.at[0], ticks.format);
            assert_eq!((ticks.at.len(), text.as_str()), (count, first), "{span} ms");
        }
        assert_eq!(Ticks::of(&(begin..begin)).at.len(), 1);
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(date_and_time(1_700_000_000_123.0), "2023-11-14 22:13:20");
        assert_eq!(date_and_time(1e300), format!("{} ms", 1e300));
        for (ms, text) in [(12.0, "12 ms"), (90_000.0, "90.0 s"), (5.4e6, "90.0 min"), (1e8, "27.8 h"), (1e9, "11.6 d")]
        {
            assert_eq!(length_of_time(ms), text);
        }
    }
}
