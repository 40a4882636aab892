//! The epochs of a capture: they follow the times of packets, as live epochs follow the agent's clock.

use std::time::Duration;

use super::WINDOW;
use crate::features::SLICES;

/// An event that is processed before a packet is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Time starts here, ns: at the first packet, or where the capture's clock was set back. Earlier counts belong to
    /// the time before.
    Begin(u64),
    /// An epoch ended here, ns.
    End(u64),
    /// Several intervals passed without a packet, and without anything that could end in them.
    Silence {
        /// Number of intervals.
        intervals: u64,
        /// The total length of these intervals, ns.
        silence_ns: u64,
    },
}

/// The maximum lateness of a packet in its epoch. It keeps packets that are counted together within 2³² µs, so that a
/// flow's sums of squares cannot overflow (an interval is at most an hour).
const LATEST: Duration = Duration::from_secs(600);

/// The progress of time in a capture, by its packets.
///
/// Late packets are counted in the current epoch, so time does not go back. If it goes back by more than the idle
/// timeout, or more than ten minutes, time starts again: the next file is from another day, or the clock was set.
#[derive(Clone, Debug)]
pub struct Epochs {
    interval_ns: u64,
    set_back_ns: u64,
    /// Number of empty intervals after and before packets that host windows can contain.
    seen: u64,
    /// Number of intervals in one slice of a window. Only whole slices are skipped, so that later slices keep their
    /// boundaries.
    slice: u64,
    now: Option<Now>,
}

#[derive(Clone, Copy, Debug)]
struct Now {
    /// The latest time of a packet, ns.
    latest_ns: u64,
    /// End of the current epoch, ns.
    end_ns: u64,
    /// Number of epochs that ended since the last packet.
    ended: u64,
}

impl Epochs {
    /// Epochs of length `interval`, for flows with the idle timeout `idle`.
    #[must_use]
    pub fn new(interval: Duration, idle: Duration) -> Self {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let interval_ns = ns(interval).max(1);
        // A window may reach back by one slice more than its span.
        let seen = 2 * ns(WINDOW) / interval_ns + 2;
        let slice = (ns(WINDOW) / SLICES).div_ceil(interval_ns);
        Self { interval_ns, set_back_ns: ns(idle.min(LATEST)), seen, slice, now: None }
    }

    /// The same, but without skipping intervals of a silence. This may take long.
    #[must_use]
    pub const fn without_leaps(mut self) -> Self {
        self.seen = u64::MAX;
        self
    }

    /// Time starts again if it goes back by more than this, ns.
    #[must_use]
    pub(crate) const fn set_back_ns(&self) -> u64 {
        self.set_back_ns
    }

    /// The latest time of a packet, ns.
    #[must_use]
    pub fn latest_ns(&self) -> Option<u64> {
        self.now.map(|now| now.latest_ns)
    }

    /// The latest known time, ns: that of a packet, or the end of the last interval of a silence ([`Self::silent`]).
    #[must_use]
    pub fn now_ns(&self) -> Option<u64> {
        self.now.map(|now| now.latest_ns.max(now.end_ns.saturating_sub(self.interval_ns)))
    }

    /// The next event until `now_ns` if no packet arrives; to be called until it returns None. Packets that arrive
    /// later with earlier times count as late. They do not set time back.
    pub fn silent(&mut self, now_ns: u64) -> Option<Passed> {
        let now = self.now.as_mut().filter(|now| now.end_ns <= now_ns)?;
        let ended_ns = now.end_ns;
        now.end_ns = ended_ns.saturating_add(self.interval_ns);
        now.ended += 1;
        Some(Passed::End(ended_ns))
    }

    /// The next event before a packet of `time_ns`; to be called until it returns None. `due_ns` returns the time
    /// before which no timer is due. Intervals of a long silence that change nothing are skipped.
    #[inline]
    pub fn before(&mut self, time_ns: u64, due_ns: impl FnOnce() -> Option<u64>) -> Option<Passed> {
        match &mut self.now {
            Some(now) if time_ns < now.end_ns && now.latest_ns.saturating_sub(time_ns) <= self.set_back_ns => {
                now.latest_ns = now.latest_ns.max(time_ns);
                now.ended = 0;
                None
            }
            Some(now) if time_ns >= now.end_ns => {
                let whole = (time_ns - now.end_ns) / self.interval_ns;
                if now.ended > self.seen && whole > self.seen {
                    let due = due_ns().map_or(u64::MAX, |due_ns| due_ns.saturating_sub(now.end_ns));
                    let intervals = (whole - self.seen).min(due.div_ceil(self.interval_ns));
                    let intervals = intervals / self.slice * self.slice;
                    if intervals > 0 {
                        let silence_ns = intervals * self.interval_ns;
                        now.end_ns += silence_ns;
                        return Some(Passed::Silence { intervals, silence_ns });
                    }
                }
                let ended_ns = now.end_ns;
                now.end_ns = ended_ns.saturating_add(self.interval_ns);
                now.ended += 1;
                Some(Passed::End(ended_ns))
            }
            _ => {
                self.now = Some(Now { latest_ns: time_ns, end_ns: time_ns.saturating_add(self.interval_ns), ended: 0 });
                Some(Passed::Begin(time_ns))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn epochs() -> Epochs {
        Epochs::new(Duration::from_secs(1), Duration::from_secs(15))
    }

    fn before(epochs: &mut Epochs, time_ns: u64, due_ns: Option<u64>) -> Vec<Passed> {
        std::iter::from_fn(|| epochs.before(time_ns, || due_ns)).collect()
    }

    #[test]
    fn epochs_end_at_whole_intervals_after_the_first_packet() {
        let mut epochs = epochs();
        assert_eq!(before(&mut epochs, 500, None), [Passed::Begin(500)]);
        assert_eq!(before(&mut epochs, SECOND + 499, None), []);
        assert_eq!(before(&mut epochs, SECOND + 500, None), [Passed::End(SECOND + 500)]);
        let ends = [2, 3].map(|second| Passed::End(second * SECOND + 500));
        assert_eq!(before(&mut epochs, 3 * SECOND + 501, None), ends);
        assert_eq!(epochs.latest_ns(), Some(3 * SECOND + 501));
    }

    #[test]
    fn late_packets_do_not_move_time_and_a_clock_that_was_set_back_starts_again() {
        let mut epochs = epochs();
        assert_eq!(before(&mut epochs, 100 * SECOND, None), [Passed::Begin(100 * SECOND)]);
        assert_eq!(before(&mut epochs, 85 * SECOND, None), []);
        assert_eq!(epochs.latest_ns(), Some(100 * SECOND));
        assert_eq!(before(&mut epochs, 85 * SECOND - 1, None), [Passed::Begin(85 * SECOND - 1)]);
        assert_eq!(before(&mut epochs, 86 * SECOND, None), [Passed::End(86 * SECOND - 1)]);
    }

    /// Only intervals that affect no window and no timer are skipped.
    #[test]
    fn a_long_silence_costs_no_loop_per_interval() {
        let year = 365 * 86_400 * SECOND;
        let mut epochs = epochs();
        before(&mut epochs, 0, None);
        let passed = before(&mut epochs, year + 1, None);
        let ends = passed.iter().copied().filter(|passed| matches!(passed, Passed::End(_)));
        // Six at both ends, and the interval of the packet before the silence.
        let first = (1..=7).map(|second| Passed::End(second * SECOND));
        let last = (0..=6).rev().map(|second| Passed::End(year - second * SECOND));
        assert!(ends.eq(first.chain(last)), "{passed:?}");
        let intervals = 365 * 86_400 - 14;
        let silence = Passed::Silence { intervals, silence_ns: intervals * SECOND };
        assert!(passed.contains(&silence), "{passed:?}");
        // A timer that is due within the silence gets the end of its interval.
        let mut epochs = self::epochs();
        before(&mut epochs, 0, None);
        let due = 1000 * SECOND - 1;
        let passed: Vec<_> = std::iter::from_fn({
            let mut last_ns = 0;
            move || {
                let passed = epochs.before(year + 1, || (last_ns < due).then_some(due))?;
                if let Passed::End(end_ns) = passed {
                    last_ns = end_ns;
                }
                Some(passed)
            }
        })
        .collect();
        assert!(passed.contains(&Passed::End(1000 * SECOND)), "{passed:?}");
        assert_eq!(passed.len(), 7 + 1 + 1 + 1 + 7, "{passed:?}");
    }

    #[test]
    fn time_advances_in_a_silence_and_late_packets_do_not_set_it_back() {
        let mut epochs = epochs();
        assert_eq!(epochs.silent(100 * SECOND), None, "no time before the first packet");
        before(&mut epochs, 100 * SECOND, None);
        let silent = |epochs: &mut Epochs, now_ns| std::iter::from_fn(|| epochs.silent(now_ns)).count();
        assert_eq!(silent(&mut epochs, 130 * SECOND), 30);
        assert_eq!((epochs.latest_ns(), epochs.now_ns()), (Some(100 * SECOND), Some(130 * SECOND)));
        assert_eq!(before(&mut epochs, 101 * SECOND, None), [], "30 s late, and not set back");
        assert_eq!(before(&mut epochs, 131 * SECOND, None), [Passed::End(131 * SECOND)]);
    }

    #[test]
    fn the_largest_times_do_not_overflow() {
        let mut epochs = epochs();
        before(&mut epochs, 0, None);
        assert!(before(&mut epochs, i64::MAX as u64, Some(u64::MAX)).len() < 20);
        assert_eq!(before(&mut epochs, 5, None), [Passed::Begin(5)]);
    }
}
