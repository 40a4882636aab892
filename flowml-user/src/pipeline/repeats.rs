//! Lines that repeat are reported once in a period, with how often they came.

use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

/// A line is reported at most once in this time.
const PERIOD: Duration = Duration::from_secs(60);

/// How many different lines are kept at once; there are a handful.
const MOST: usize = 100;

/// The lines that were reported in this period: when, and how often each has come since.
#[derive(Default)]
pub(super) struct Repeats(HashMap<String, (Instant, u64)>);

impl Repeats {
    /// What is to be reported at `now`, when these lines have come.
    pub(super) fn report(&mut self, lines: impl IntoIterator<Item = String>, now: Instant) -> Vec<String> {
        let mut reported = Vec::new();
        for line in lines {
            if let Some((_, more)) = self.0.get_mut(&line) {
                *more += 1;
                continue;
            }
            reported.push(line.clone());
            if self.0.len() < MOST {
                self.0.insert(line, (now, 0));
            }
        }
        self.0.retain(|line, (since, more)| {
            if now.duration_since(*since) < PERIOD {
                return true;
            }
            *since = now;
            let more = mem::take(more);
            if more > 0 {
                reported.push(format!("{line} ({more} more times in the last {} s)", PERIOD.as_secs()));
            }
            more > 0
        });
        reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_reported_once_in_a_period_with_how_often_it_came() {
        let mut repeats = Repeats::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let full = |times| std::iter::repeat_n("full".to_owned(), times);
        assert_eq!(repeats.report(full(20), at(0)), ["full"]);
        assert_eq!(repeats.report(full(4), at(1)), [""; 0]);
        assert_eq!(repeats.report(["other".to_owned()], at(2)), ["other"]);
        assert_eq!(repeats.report(full(0), at(60)), ["full (23 more times in the last 60 s)"]);
        assert_eq!(repeats.report(full(0), at(120)), [""; 0]);
        assert_eq!(repeats.report(full(1), at(121)), ["full"]);
    }
}
