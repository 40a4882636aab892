//! The clocks of a capture: converts packet times of all interfaces to one time, the time of the run.
//!
//! Each interface of a file has its own clock, and clocks differ. The run uses the clock of the first packet. Another
//! clock gets a constant shift at its first packet if it differs by more than [`TOLERANCE_NS`]. So gaps and durations
//! are those of the interface's own clock, and timers and host windows use one time. Records have the times of their
//! own clock.

use std::collections::HashMap;

use ahash::RandomState;

/// Clocks that differ by at most this are treated as one, ns. Capturing programs write packets of several interfaces
/// slightly out of order.
pub(super) const TOLERANCE_NS: u64 = 1_000_000_000;

/// The state of an interface's clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    interface: u32,
    /// Added to its times to get the time of the run, ns.
    shift_ns: i64,
    /// The latest time of the clock, as time of the run, ns.
    latest_ns: u64,
}

/// The time at which a packet counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// At this time of the run.
    At {
        /// Time of the run, ns.
        time_ns: u64,
        /// Difference to the time of the interface's clock, ns; 0 in nearly all captures.
        shift_ns: i64,
    },
    /// Undecided: the first packet of an interface is far ahead of the others. Either time has passed, or its clock is
    /// ahead. The next packet of another interface decides it ([`Clocks::align`]).
    Ahead,
}

/// Irregular times in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Irregular {
    /// Packets that are more than [`TOLERANCE_NS`] late.
    pub(super) late: Deviations,
    /// Clocks that were set back.
    pub(super) set_back: Deviations,
    /// Clocks that differ from that of the run: the interface, and the shift added to its times, ns.
    pub(super) shifted: Vec<(u32, i64)>,
}

/// Counts deviations of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deviations {
    /// Number of deviations.
    pub(super) count: u64,
    /// The largest deviation, ns.
    pub(super) most_ns: u64,
}

impl Deviations {
    fn add(&mut self, deviation_ns: u64) {
        self.count += 1;
        self.most_ns = self.most_ns.max(deviation_ns);
    }
}

/// All clocks of a run.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    set_back_ns: u64,
    clocks: Vec<Clock>,
    by_interface: HashMap<u32, usize, RandomState>,
    /// Index of the previous packet's clock. Packets of one interface often follow each other.
    current: usize,
    /// The latest time of all clocks, ns.
    latest_ns: u64,
    /// Whether the next packet is the first of a file. Earlier times then belong to other clocks.
    begins: bool,
    irregular: Irregular,
}

impl Clocks {
    /// Clocks that count as set back when their time decreases by more than `set_back_ns`.
    pub(super) fn new(set_back_ns: u64) -> Self {
        Self {
            set_back_ns,
            clocks: Vec::new(),
            by_interface: HashMap::default(),
            current: 0,
            latest_ns: 0,
            begins: true,
            irregular: Irregular::default(),
        }
    }

    /// Begins a file. Its first packet is not aligned with earlier files.
    pub(super) const fn begin_file(&mut self) {
        self.begins = true;
    }

    /// Whether the clock of an interface is known.
    pub(super) fn knows(&self, interface: u32) -> bool {
        self.by_interface.contains_key(&interface)
    }

    /// Whether a packet of an interface with an unknown clock is ahead ([`Placed::Ahead`]).
    pub(super) fn is_ahead(&self, interface: u32, time_ns: u64) -> bool {
        !self.knows(interface) && self.shift(time_ns, false).is_none()
    }

    /// The irregular times since this was last called.
    pub(super) fn irregular(&mut self) -> Irregular {
        std::mem::take(&mut self.irregular)
    }

    /// The time at which a packet of `interface` counts. `time_ns` is its time on the clock of the interface, ns.
    ///
    /// A packet that is late on its own clock gets the latest time so far, so that time does not go back within a flow.
    /// If the packet is late by more than the limit, the clock was set back. Then all clocks start again.
    #[inline]
    pub(super) fn place(&mut self, interface: u32, time_ns: u64) -> Placed {
        let begins = std::mem::take(&mut self.begins);
        if self.clocks.get(self.current).is_none_or(|clock| clock.interface != interface) {
            match self.by_interface.get(&interface) {
                Some(known) => self.current = *known,
                None => match self.shift(time_ns, begins) {
                    Some(shift_ns) => self.settle(interface, shift_ns),
                    None => return Placed::Ahead,
                },
            }
        }
        let latest_of_all_ns = self.latest_ns;
        let clock = &mut self.clocks[self.current];
        let shift_ns = clock.shift_ns;
        let mut shifted_ns = time_ns.saturating_add_signed(shift_ns);
        if latest_of_all_ns.saturating_sub(shifted_ns) > self.set_back_ns {
            self.set_back(shifted_ns);
        } else {
            let late_ns = clock.latest_ns.saturating_sub(shifted_ns);
            if late_ns > TOLERANCE_NS {
                self.irregular.late.add(late_ns);
            }
            shifted_ns = shifted_ns.max(clock.latest_ns);
            clock.latest_ns = shifted_ns;
            self.latest_ns = latest_of_all_ns.max(shifted_ns);
        }
        Placed::At { time_ns: shifted_ns, shift_ns }
    }

    /// Settles the clock of an interface whose first packet was ahead ([`Placed::Ahead`]). Its times went from
    /// `first_ns` to `last_ns` before the next packet of a known clock, which has the run's time `now_ns`; `None` if
    /// there was no such packet.
    pub(super) fn align(&mut self, interface: u32, [first_ns, last_ns]: [u64; 2], now_ns: Option<u64>) {
        let shift_ns = match now_ns {
            Some(now_ns) if now_ns.saturating_add(TOLERANCE_NS) < last_ns => {
                // The packets arrived between the latest time and now.
                difference(now_ns, last_ns).max(difference(self.latest_ns, first_ns))
            }
            _ => 0,
        };
        self.settle(interface, shift_ns);
    }

    /// The run's time at `time_ns` of a known clock.
    pub(super) fn run_ns(&self, interface: u32, time_ns: u64) -> Option<u64> {
        let clock = self.clocks[*self.by_interface.get(&interface)?];
        let shifted_ns = time_ns.saturating_add_signed(clock.shift_ns);
        (clock.latest_ns.saturating_sub(shifted_ns) <= self.set_back_ns).then_some(shifted_ns)
    }

    /// The shift of a clock whose first packet has `time_ns`; `None` if it is ahead.
    #[cold]
    fn shift(&self, time_ns: u64, begins: bool) -> Option<i64> {
        if begins || self.clocks.is_empty() || time_ns.abs_diff(self.latest_ns) <= TOLERANCE_NS {
            return Some(0);
        }
        (time_ns < self.latest_ns).then(|| difference(self.latest_ns, time_ns))
    }

    #[cold]
    fn settle(&mut self, interface: u32, shift_ns: i64) {
        if shift_ns != 0 {
            self.irregular.shifted.push((interface, shift_ns));
        }
        self.current = self.clocks.len();
        self.by_interface.insert(interface, self.current);
        self.clocks.push(Clock { interface, shift_ns, latest_ns: 0 });
    }

    /// Starts again at `time_ns` with the current clock. The state of the other clocks is dropped, because it belongs
    /// to the time before the clock was set back.
    #[cold]
    fn set_back(&mut self, time_ns: u64) {
        self.irregular.set_back.add(self.latest_ns - time_ns);
        let clock = Clock { latest_ns: time_ns, ..self.clocks[self.current] };
        self.clocks = vec![clock];
        self.by_interface.clear();
        self.by_interface.insert(clock.interface, 0);
        (self.current, self.latest_ns) = (0, time_ns);
    }
}

/// `to_ns` − `from_ns`, ns.
fn difference(to_ns: u64, from_ns: u64) -> i64 {
    // Capture times have 63 bits, so the difference fits.
    to_ns.wrapping_sub(from_ns) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const TEN: u64 = 10 * SECOND;

    fn clocks() -> Clocks {
        let mut clocks = Clocks::new(15 * SECOND);
        assert_eq!(clocks.place(1, 100 * SECOND), at(100 * SECOND, 0));
        clocks
    }

    const fn at(time_ns: u64, shift_ns: i64) -> Placed {
        Placed::At { time_ns, shift_ns }
    }

    #[test]
    fn time_does_not_go_back_on_a_clock_and_late_packets_are_counted() {
        let mut clocks = clocks();
        assert_eq!(clocks.place(1, 100 * SECOND - 1), at(100 * SECOND, 0));
        assert_eq!(clocks.irregular(), Irregular::default(), "a packet or two may change places");
        assert_eq!(clocks.place(1, 85 * SECOND), at(100 * SECOND, 0));
        assert_eq!(clocks.place(1, 98 * SECOND), at(100 * SECOND, 0));
        assert_eq!(clocks.irregular().late, Deviations { count: 2, most_ns: 15 * SECOND });
        // Another clock may be slightly behind; its own times do not go back.
        assert_eq!(clocks.place(2, 100 * SECOND - 5), at(100 * SECOND - 5, 0));
        assert_eq!(clocks.place(2, 100 * SECOND - 4), at(100 * SECOND - 4, 0));
    }

    #[test]
    fn a_clock_that_is_set_back_starts_again() {
        let mut clocks = clocks();
        assert_eq!(clocks.place(1, 85 * SECOND - 1), at(85 * SECOND - 1, 0));
        assert_eq!(clocks.irregular().set_back, Deviations { count: 1, most_ns: 15 * SECOND + 1 });
        assert_eq!(clocks.place(1, 85 * SECOND), at(85 * SECOND, 0));
    }

    #[test]
    fn a_clock_behind_the_others_keeps_its_gaps() {
        let mut clocks = clocks();
        let shift_ns = 60 * SECOND as i64;
        assert_eq!(clocks.place(2, 40 * SECOND), at(100 * SECOND, shift_ns));
        assert_eq!(clocks.place(1, 101 * SECOND), at(101 * SECOND, 0));
        assert_eq!(clocks.place(2, 43 * SECOND), at(103 * SECOND, shift_ns));
        assert_eq!(clocks.irregular().shifted, [(2, shift_ns)]);
        // The next file is from another day, so its times show no difference between clocks.
        clocks.begin_file();
        assert_eq!(clocks.place(3, TEN), at(TEN, 0));
        assert_eq!(clocks.irregular().set_back.count, 1);
    }

    #[test]
    fn packets_of_a_clock_ahead_of_the_others_are_held_back() {
        // The other clock has advanced by a second: the new clock is ahead.
        let mut clocks = clocks();
        assert!(clocks.is_ahead(2, 160 * SECOND));
        assert_eq!(clocks.place(2, 160 * SECOND), Placed::Ahead);
        let now_ns = clocks.run_ns(1, 101 * SECOND);
        clocks.align(2, [160 * SECOND, 161 * SECOND], now_ns);
        let shift_ns = -(60 * SECOND as i64);
        assert_eq!(clocks.place(2, 160 * SECOND), at(100 * SECOND, shift_ns));
        assert_eq!(clocks.place(1, 101 * SECOND), at(101 * SECOND, 0));
        assert_eq!(clocks.irregular().shifted, [(2, shift_ns)]);
        // If the other clock has advanced by the same time, or does not appear again, time has passed.
        for now_ns in [Some(161 * SECOND), None] {
            let mut clocks = self::clocks();
            assert_eq!(clocks.place(2, 160 * SECOND), Placed::Ahead);
            clocks.align(2, [160 * SECOND; 2], now_ns);
            assert_eq!(clocks.place(2, 160 * SECOND), at(160 * SECOND, 0));
            assert_eq!(clocks.irregular(), Irregular::default());
        }
    }
}
