//! Time to detection of attacks, and the rate of false alarms.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

/// The times of a row, Unix time in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// The time of its first packet.
    pub begin_ms: f64,
    /// The time of its last packet.
    pub last_ms: f64,
    /// Time at which the meter wrote the row. It raises no alarm before that.
    pub written_ms: f64,
}

/// An attack: all rows with one input, one label and, if rules gave the label, one rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attack {
    label: Arc<str>,
    rule: Option<u32>,
    input: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Course {
    begin_ms: f64,
    found_ms: Option<f64>,
}

/// The number of detected attacks of one label, and their time to detection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Number of attacks.
    pub attacks: usize,
    /// Number of attacks without an alarm.
    pub attacks_not_found: usize,
    /// The median time from the start of the first row to the first alarm over the detected attacks, s.
    pub time_to_detection_s: Option<f64>,
}

/// The time span of the captures, and their attacks and alarms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// The start of the first row and the last packet of each input, ms.
    spans: BTreeMap<u32, (f64, f64)>,
    false_alarms: u64,
    attacks: BTreeMap<Attack, Course>,
}

impl Watch {
    /// Adds a row with its input, its times, the label and rule of its attack if it has one, and whether it raised an
    /// alarm.
    pub fn add(&mut self, input: u32, moment: Moment, attack: Option<(&Arc<str>, Option<u32>)>, alarm: bool) {
        let Moment { begin_ms, last_ms, written_ms } = moment;
        self.span(input, (begin_ms, last_ms));
        match attack {
            None => self.false_alarms += u64::from(alarm),
            Some((label, rule)) => {
                let attack = Attack { label: Arc::clone(label), rule, input };
                self.course(attack, Course { begin_ms, found_ms: alarm.then_some(written_ms) });
            }
        }
    }

    /// Adds the observations of other rows of the same captures.
    pub fn merge(&mut self, other: &Self) {
        other.spans.iter().for_each(|(input, span)| self.span(*input, *span));
        self.false_alarms += other.false_alarms;
        other.attacks.iter().for_each(|(attack, course)| self.course(attack.clone(), *course));
    }

    fn span(&mut self, input: u32, (from, to): (f64, f64)) {
        let own = self.spans.entry(input).or_insert((from, to));
        *own = (own.0.min(from), own.1.max(to));
    }

    fn course(&mut self, attack: Attack, course: Course) {
        let own = self.attacks.entry(attack).or_insert(course);
        own.begin_ms = own.begin_ms.min(course.begin_ms);
        own.found_ms = [own.found_ms, course.found_ms].into_iter().flatten().reduce(f64::min);
    }

    /// The total duration of the inputs, each from its first row to its last packet, h.
    #[must_use]
    pub fn hours(&self) -> f64 {
        self.spans.values().map(|(from, to)| to - from).sum::<f64>() / 3_600_000.0
    }

    /// Alarms of benign rows per hour; `None` if the duration is 0.
    #[must_use]
    pub fn false_alarms_per_hour(&self) -> Option<f64> {
        let hours = self.hours();
        (hours > 0.0).then(|| self.false_alarms as f64 / hours)
    }

    /// The detection of attacks, by label.
    #[must_use]
    pub fn found(&self) -> BTreeMap<String, Found> {
        let mut by_label: BTreeMap<&str, Vec<&Course>> = BTreeMap::new();
        self.attacks.iter().for_each(|(attack, course)| by_label.entry(&attack.label).or_default().push(course));
        let found = |courses: Vec<&Course>| {
            let took = |course: &&Course| course.found_ms.map(|found| (found - course.begin_ms) / 1000.0);
            let times: Vec<f64> = courses.iter().filter_map(took).collect();
            Found {
                attacks: courses.len(),
                attacks_not_found: courses.len() - times.len(),
                time_to_detection_s: median(times),
            }
        };
        by_label.into_iter().map(|(label, courses)| (label.to_owned(), found(courses))).collect()
    }
}

/// The median.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row: input; start, last packet and time of writing in s; label; rule; alarm.
    type Row = (u32, [f64; 3], &'static str, Option<u32>, bool);

    fn watch(rows: &[Row]) -> Watch {
        let mut watch = Watch::default();
        for (input, seconds, label, rule, alarm) in rows {
            let [begin_ms, last_ms, written_ms] = seconds.map(|s| s * 1000.0);
            let label: Arc<str> = Arc::from(*label);
            let attack = (*label != *"benign").then_some((&label, *rule));
            watch.add(*input, Moment { begin_ms, last_ms, written_ms }, attack, *alarm);
        }
        watch
    }

    const ROWS: &[Row] = &[
        // A capture of half an hour with two false alarms.
        (0, [0.0, 10.0, 26.0], "benign", None, true),
        (0, [1700.0, 1800.0, 1800.0], "benign", None, true),
        (0, [50.0, 60.0, 62.0], "benign", None, false),
        // A capture of an hour. The attack begins with a flow without alarm. Its first alarm is raised by the third row
        // written.
        (1, [100.0, 130.0, 145.0], "scan", Some(1), false),
        (1, [101.0, 101.0, 117.0], "scan", Some(1), true),
        (1, [102.0, 102.0, 110.0], "scan", Some(1), true),
        // Rows of another rule or another input are another attack.
        (1, [3000.0, 3001.0, 3004.0], "scan", Some(2), true),
        (1, [3650.0, 3700.0, 3700.0], "scan", Some(3), false),
        (0, [200.0, 200.0, 202.0], "flood", None, false),
    ];

    #[test]
    fn detections_and_delays_are_those_counted_by_hand() {
        let watch = watch(ROWS);
        // 1800 s, and from 100 s to 3700 s.
        assert!((watch.hours() - 1.5).abs() < 1e-12);
        assert!((watch.false_alarms_per_hour().expect("time went by") - 2.0 / 1.5).abs() < 1e-12);
        let found = watch.found();
        // 10 s for the first attack, 4 s for the second; the third is not detected.
        let scan = Found { attacks: 3, attacks_not_found: 1, time_to_detection_s: Some(7.0) };
        assert_eq!(found["scan"], scan);
        assert_eq!(found["flood"], Found { attacks: 1, attacks_not_found: 1, time_to_detection_s: None });
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn merged_parts_of_the_rows_equal_all_rows() {
        for by in 1..4 {
            let mut parts = watch(&[]);
            for first in 0..by {
                let rows: Vec<Row> = ROWS.iter().copied().skip(first).step_by(by).collect();
                parts.merge(&watch(&rows));
            }
            assert_eq!(parts, watch(ROWS), "{by} parts");
        }
        assert_eq!(watch(&[]).false_alarms_per_hour(), None);
    }
}
