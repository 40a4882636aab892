//! Traffic over time: flows spread over as many steps as a chart can show.

use std::collections::BTreeMap;

/// Possible lengths of a step, ms. Each divides the next, so that steps can be merged exactly.
const STEPS_MS: [i64; 19] = [
    1,
    2,
    10,
    20,
    100,
    200,
    1000,
    2000,
    10_000,
    20_000,
    60_000,
    120_000,
    600_000,
    1_200_000,
    3_600_000,
    7_200_000,
    21_600_000,
    86_400_000,
    604_800_000,
];

/// Maximum number of steps from the first to the last.
const MOST: i64 = 720;

/// Times after this are invalid, ms: the year 5138.
const LATEST_MS: f64 = 1e14;

/// The traffic in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LogScaled {
    pub(super) packets: f64,
    pub(super) bytes: f64,
    pub(super) flow_anomalies: f64,
    pub(super) host_anomalies: f64,
}

impl LogScaled {
    fn add(&mut self, other: &Self, part: f64) {
        self.packets += other.packets * part;
        self.bytes += other.bytes * part;
        self.flow_anomalies += other.flow_anomalies * part;
        self.host_anomalies += other.host_anomalies * part;
    }
}

/// Traffic over time. It starts with the shortest steps, and merges them if there are too many.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Index into [`STEPS_MS`].
    step: usize,
    /// The values by the number of the step since 1970. Empty steps are not stored.
    amounts: BTreeMap<i64, LogScaled>,
}

impl Timeline {
    /// Adds an amount, spread evenly from one time to another (Unix time, ms), or at one time if both are equal.
    pub(super) fn add(&mut self, from_ms: f64, to_ms: f64, amount: &LogScaled) {
        let is_time = |ms: f64| (0.0..=LATEST_MS).contains(&ms);
        if !is_time(from_ms) || !is_time(to_ms) {
            return;
        }
        let to_ms = to_ms.max(from_ms);
        self.make_room(from_ms, to_ms);
        let (first, last) = (self.step_of(from_ms), self.step_of(to_ms));
        let step_ms = self.step_ms();
        for number in first..=last {
            let (begin, end) = (number as f64 * step_ms, (number + 1) as f64 * step_ms);
            let part = if last == first { 1.0 } else { (to_ms.min(end) - from_ms.max(begin)) / (to_ms - from_ms) };
            self.amounts.entry(number).or_default().add(amount, part);
        }
    }

    fn step_of(&self, ms: f64) -> i64 {
        (ms / self.step_ms()).floor() as i64
    }

    /// The length of a step, ms.
    pub(super) fn step_ms(&self) -> f64 {
        STEPS_MS[self.step] as f64
    }

    /// Merges steps until the existing ones and the new ones fit.
    fn make_room(&mut self, from_ms: f64, to_ms: f64) {
        loop {
            let (from, to) = (self.step_of(from_ms), self.step_of(to_ms));
            let first = self.amounts.first_key_value().map_or(from, |(first, _)| from.min(*first));
            let last = self.amounts.last_key_value().map_or(to, |(last, _)| to.max(*last));
            if last - first < MOST || self.step + 1 == STEPS_MS.len() {
                return;
            }
            let by = STEPS_MS[self.step + 1] / STEPS_MS[self.step];
            self.step += 1;
            let mut joined: BTreeMap<i64, LogScaled> = BTreeMap::new();
            for (number, amount) in &self.amounts {
                joined.entry(number.div_euclid(by)).or_default().add(amount, 1.0);
            }
            self.amounts = joined;
        }
    }

    /// The steps from the first to the last, including empty ones: start and end (Unix time, ms), and amount.
    pub(super) fn steps(&self) -> Vec<(f64, f64, LogScaled)> {
        let (Some((first, _)), Some((last, _))) = (self.amounts.first_key_value(), self.amounts.last_key_value())
        else {
            return Vec::new();
        };
        let step = |number: i64| {
            let amount = self.amounts.get(&number).copied().unwrap_or_default();
            (number as f64 * self.step_ms(), (number + 1) as f64 * self.step_ms(), amount)
        };
        (*first..=*last).map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: LogScaled = LogScaled { packets: 100.0, bytes: 1000.0, flow_anomalies: 0.0, host_anomalies: 0.0 };

    #[test]
    fn a_flow_is_spread_from_its_first_packet_to_its_last() {
        let mut time = Timeline::default();
        time.add(1_000_000.0, 1_000_000.0, &PACKETS);
        assert_eq!(time.steps(), [(1_000_000.0, 1_000_001.0, PACKETS)]);
        // Ten seconds in steps of 20 ms, with half a step at both ends.
        time.add(1_000_010.0, 1_010_010.0, &PACKETS);
        let steps = time.steps();
        assert_eq!((time.step_ms(), steps.len()), (20.0, 501));
        assert!((steps[0].2.packets - 100.1).abs() < 1e-9 && (steps[500].2.packets - 0.1).abs() < 1e-9);
        assert!((steps[250].2.packets - 0.2).abs() < 1e-9 && (steps[250].2.bytes - 2.0).abs() < 1e-9);
    }

    #[test]
    fn any_time_span_fits_without_loss() {
        let mut time = Timeline::default();
        let (mut packets, start) = (0.0, 1.7e12);
        for exponent in 0..11 {
            for (from, to) in [(start, start + 10_f64.powi(exponent)), (start - 10_f64.powi(exponent), start)] {
                time.add(from, to, &PACKETS);
                packets += PACKETS.packets;
                let steps = time.steps();
                let sum: f64 = steps.iter().map(|(.., amount)| amount.packets).sum();
                assert!((sum - packets).abs() < 1e-6, "{sum} of {packets}");
                assert!(steps.len() as i64 <= MOST && steps.windows(2).all(|pair| pair[0].1 == pair[1].0));
            }
        }
        for (from, to) in [(f64::NAN, 1.0), (-1.0, 1.0), (1.0, f64::INFINITY), (0.0, 1e300)] {
            time.add(from, to, &PACKETS);
        }
        assert!((time.steps().iter().map(|(.., amount)| amount.packets).sum::<f64>() - packets).abs() < 1e-6);
    }
}
