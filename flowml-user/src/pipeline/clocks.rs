//! The clocks of a capture: the time of each packet on the clock of the run, whichever interface saw it.
//!
//! Each interface of a file has a clock of its own, and clocks differ. The run goes by the clock of the first packet. Another
//! clock gets a constant shift with its first packet, where that is more than [`TOLERANCE_NS`] off: so gaps and durations are
//! those of its own clock, and timers and host windows run on one time. Records have the times of their own clock again.

use std::collections::HashMap;

use ahash::RandomState;

/// Clocks that differ by no more than this are taken for one: capturing programs write the packets of several interfaces
/// a little out of order.
pub(super) const TOLERANCE_NS: u64 = 1_000_000_000;

/// What is known of an interface's clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    interface: u32,
    /// From its times to those of the run, ns.
    shift_ns: i64,
    /// The latest time that it showed, on the clock of the run.
    latest_ns: u64,
}

/// When a packet counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// At this time on the clock of the run, which differs by so much from that of its interface.
    At {
        /// ns.
        time_ns: u64,
        /// ns; 0 for nearly all captures.
        shift_ns: i64,
    },
    /// The first packet of an interface is far ahead of the others. Either time has passed or its clock is ahead, which the
    /// next packet of another interface shows ([`Clocks::align`]).
    Ahead,
}

/// What was not as it should be with the times of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Irregular {
    /// Packets that came more than [`TOLERANCE_NS`] late.
    pub(super) late: Deviations,
    /// Clocks that were set back.
    pub(super) set_back: Deviations,
    /// Clocks that differ from that of the run, by interface: what is to be added to their times, ns.
    pub(super) shifted: Vec<(u32, i64)>,
}

/// Deviations of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deviations {
    /// How many.
    pub(super) count: u64,
    /// The largest, ns.
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
    /// The clock of the packet before: packets of one interface come in trains.
    current: usize,
    /// The latest time of any clock.
    latest_ns: u64,
    /// Whether the next packet is the first of a file: what is before belongs to other clocks.
    begins: bool,
    irregular: Irregular,
}

impl Clocks {
    /// Clocks that are set back where they go back by more than `set_back_ns`.
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

    /// Begins a file, whose first packet is not aligned with what was before.
    pub(super) const fn begin_file(&mut self) {
        self.begins = true;
    }

    /// Whether the clock of an interface is known.
    pub(super) fn knows(&self, interface: u32) -> bool {
        self.by_interface.contains_key(&interface)
    }

    /// Whether a packet of an interface whose clock is not known is ahead ([`Placed::Ahead`]).
    pub(super) fn is_ahead(&self, interface: u32, time_ns: u64) -> bool {
        !self.knows(interface) && self.shift(time_ns, false).is_none()
    }

    /// What was not as it should be since this was last asked.
    pub(super) fn irregular(&mut self) -> Irregular {
        std::mem::take(&mut self.irregular)
    }

    /// When a packet counts that an interface saw at `time_ns` of its clock.
    ///
    /// A packet that is late on its own clock counts at the latest time before it, so that time does not go back within a
    /// flow. Where it is late by more than the limit, the clock was set back, and all begin again with it.
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

    /// Settles the clock of an interface whose first packet was ahead ([`Placed::Ahead`]): its times were from `first_ns` to
    /// `last_ns` before the next packet of a known clock, which came at `now_ns` of the run; `None` if none came.
    pub(super) fn align(&mut self, interface: u32, [first_ns, last_ns]: [u64; 2], now_ns: Option<u64>) {
        let shift_ns = match now_ns {
            Some(now_ns) if now_ns.saturating_add(TOLERANCE_NS) < last_ns => {
                // The packets came between the latest time and now.
                difference(now_ns, last_ns).max(difference(self.latest_ns, first_ns))
            }
            _ => 0,
        };
        self.settle(interface, shift_ns);
    }

    /// The time of the run at `time_ns` of a known clock.
    pub(super) fn run_ns(&self, interface: u32, time_ns: u64) -> Option<u64> {
        let clock = self.clocks[*self.by_interface.get(&interface)?];
        let shifted_ns = time_ns.saturating_add_signed(clock.shift_ns);
        (clock.latest_ns.saturating_sub(shifted_ns) <= self.set_back_ns).then_some(shifted_ns)
    }

    /// How far a clock is to be shifted whose first packet is of `time_ns`; `None` where it is ahead.
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

    /// Begins again at `time_ns` with the current clock: what was known of the others was of the time before.
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

/// From `from_ns` to `to_ns`, ns.
fn difference(to_ns: u64, from_ns: u64) -> i64 {
    // Times of captures have 63 bits.
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
    fn time_does_not_go_back_on_a_clock_and_every_second_of_it_is_noted() {
        let mut clocks = clocks();
        assert_eq!(clocks.place(1, 100 * SECOND - 1), at(100 * SECOND, 0));
        assert_eq!(clocks.irregular(), Irregular::default(), "a packet or two may change places");
        assert_eq!(clocks.place(1, 85 * SECOND), at(100 * SECOND, 0));
        assert_eq!(clocks.place(1, 98 * SECOND), at(100 * SECOND, 0));
        assert_eq!(clocks.irregular().late, Deviations { count: 2, most_ns: 15 * SECOND });
        // Another clock may be a little behind, and goes forward by itself.
        assert_eq!(clocks.place(2, 100 * SECOND - 5), at(100 * SECOND - 5, 0));
        assert_eq!(clocks.place(2, 100 * SECOND - 4), at(100 * SECOND - 4, 0));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_again() {
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
        // The next file is of another day, and says nothing of how clocks differ.
        clocks.begin_file();
        assert_eq!(clocks.place(3, TEN), at(TEN, 0));
        assert_eq!(clocks.irregular().set_back.count, 1);
    }

    #[test]
    fn a_clock_ahead_of_the_others_waits_for_them() {
        // The other clock has gone on by a second: the new one is ahead.
        let mut clocks = clocks();
        assert!(clocks.is_ahead(2, 160 * SECOND));
        assert_eq!(clocks.place(2, 160 * SECOND), Placed::Ahead);
        let now_ns = clocks.run_ns(1, 101 * SECOND);
        clocks.align(2, [160 * SECOND, 161 * SECOND], now_ns);
        let shift_ns = -(60 * SECOND as i64);
        assert_eq!(clocks.place(2, 160 * SECOND), at(100 * SECOND, shift_ns));
        assert_eq!(clocks.place(1, 101 * SECOND), at(101 * SECOND, 0));
        assert_eq!(clocks.irregular().shifted, [(2, shift_ns)]);
        // It has gone on as well, or is never seen again: time has passed.
        for now_ns in [Some(161 * SECOND), None] {
            let mut clocks = self::clocks();
            assert_eq!(clocks.place(2, 160 * SECOND), Placed::Ahead);
            clocks.align(2, [160 * SECOND; 2], now_ns);
            assert_eq!(clocks.place(2, 160 * SECOND), at(160 * SECOND, 0));
            assert_eq!(clocks.irregular(), Irregular::default());
        }
    }
}
