//! The schedule of a soak test: the same seed makes the same schedule.

use std::fmt;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::traffic::attack::{ATTACKS, Attack, BEACON, syn_flood, udp_flood};

/// Intervals of attacks and faults. A period has one attack and one fault for each interval, and at least two of each.
const ATTACK_EVERY: Duration = Duration::from_secs(15);
const FAULT_EVERY: Duration = Duration::from_secs(12);

/// Longest duration of a fault.
const LONGEST: Duration = Duration::from_secs(12);

/// The part of a period in which attacks and faults start and faults end. Attacks end in the rest.
const BUSY: (f64, f64) = (0.05, 0.75);

/// Floods that are weaker than those of the demo. While the reader of an output is stalled, the rows of all floods must
/// fit in the memory of that output.
const FLOODS: [Attack; 2] = [
    Attack::new("syn_flood", "SYN to port 80 from spoofed sources, 5,000 a second", |scene| {
        syn_flood(scene, 80, 20_000, 5000).map(drop)
    }),
    Attack::new("udp_flood", "datagrams of 512 bytes to random ports, 5,000 a second", |scene| {
        udp_flood(scene, 512, 20_000, 5000).map(drop)
    }),
];

/// Every kind of attack.
fn attacks() -> impl Iterator<Item = &'static Attack> {
    let is_flood = |attack: &&Attack| FLOODS.iter().any(|flood| flood.name == attack.name);
    ATTACKS.iter().filter(move |attack| !is_flood(attack)).chain(&FLOODS).chain([&BEACON])
}

/// A fault of something that the agent depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    ReaderStalls,
    CollectorAway,
    DiskFull,
    InterfaceDown,
    MtuChanged,
    InterfaceReplaced,
    Reload,
    TableFilled,
}

/// A fault: its name, its event at the start, and its event at the end if it has one.
struct Words(Fault, &'static str, &'static str, Option<&'static str>);

const FAULTS: [Words; 8] = [
    Words(Fault::ReaderStalls, "reader_stalls", "the FIFO's reader stops", Some("the FIFO's reader continues")),
    Words(Fault::CollectorAway, "collector_away", "the collector ends", Some("the collector is back")),
    Words(Fault::DiskFull, "disk_full", "the small disk is filled up", Some("the small disk has room again")),
    Words(Fault::InterfaceDown, "interface_down", "the interface goes down", Some("the interface comes up")),
    Words(Fault::MtuChanged, "mtu_changed", "the MTU becomes 1400", Some("the MTU is 1500 again")),
    Words(
        Fault::InterfaceReplaced,
        "interface_replaced",
        "another interface is removed, and a new one gets its name",
        None,
    ),
    Words(Fault::Reload, "reload", "SIGHUP, after the configuration was changed", None),
    Words(Fault::TableFilled, "table_filled", "40,000 new flows at once", None),
];

impl Fault {
    fn words(self) -> &'static Words {
        FAULTS.iter().find(|words| words.0 == self).unwrap_or(&FAULTS[0])
    }
}

/// An event of the schedule.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// An attack by the stranger with this index.
    Attack(&'static Attack, usize),
    Begin(Fault),
    End(Fault),
}

impl Event {
    /// The name of the attack or the fault.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Attack(attack, _) => attack.name,
            Self::Begin(fault) | Self::End(fault) => fault.words().1,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attack(attack, stranger) => write!(f, "stranger{}: {}", stranger + 1, attack.what),
            Self::Begin(fault) => f.write_str(fault.words().2),
            Self::End(fault) => f.write_str(fault.words().3.unwrap_or_default()),
        }
    }
}

/// An event and its time since the start of its period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) event: Event,
}

/// The steps of consecutive periods, without an end.
pub(super) struct Schedule {
    random: Xoshiro256PlusPlus,
    period: Duration,
    strangers: usize,
    attacks: Deck<&'static Attack>,
    faults: Deck<Fault>,
}

impl Schedule {
    pub(super) fn new(seed: u64, period: Duration, strangers: usize) -> Self {
        let faults = FAULTS.iter().map(|words| words.0).collect();
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self { random, period, strangers, attacks: Deck::new(attacks().collect()), faults: Deck::new(faults) }
    }

    /// The steps of the next period, in the order of their times.
    pub(super) fn period(&mut self) -> Vec<Step> {
        let many = |every: Duration| (self.period.as_secs() / every.as_secs()).max(2);
        // An even number: the number of kinds is a power of two, so that no period has the same fault twice.
        let (attacks, faults) = (many(ATTACK_EVERY), many(FAULT_EVERY) & !1);
        let mut steps = Vec::new();
        for _ in 0..attacks {
            let attack = self.attacks.draw(&mut self.random);
            let event = Event::Attack(attack, self.random.gen_range(0..self.strangers));
            let at = self.part(BUSY.0, BUSY.1);
            steps.push(Step { at, event });
        }
        for _ in 0..faults {
            let fault = self.faults.draw(&mut self.random);
            let length = self.part(0.1, 0.3).min(LONGEST);
            let last = BUSY.1 - length.as_secs_f64() / self.period.as_secs_f64();
            let at = self.part(BUSY.0, last);
            steps.push(Step { at, event: Event::Begin(fault) });
            if fault.words().3.is_some() {
                steps.push(Step { at: at + length, event: Event::End(fault) });
            }
        }
        steps.sort_by_key(|step| step.at);
        steps
    }

    /// A random time between two ratios of a period.
    fn part(&mut self, from: f64, to: f64) -> Duration {
        self.period.mul_f64(self.random.gen_range(from..to))
    }
}

/// Values in a random order. Each comes once before any comes again.
struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    const fn new(all: Vec<T>) -> Self {
        Self { all, left: Vec::new() }
    }

    fn draw(&mut self, random: &mut Xoshiro256PlusPlus) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(random);
        }
        self.left.pop().unwrap_or(self.all[0])
    }
}

/// The faults and attacks of a period, which determine the losses that are allowed.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    pub(super) faults: Vec<Fault>,
    pub(super) attacks: Vec<&'static str>,
    /// Times of the faults in ms of Unix time.
    pub(super) spans: Vec<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(seed: u64) -> Vec<String> {
        let mut schedule = Schedule::new(seed, Duration::from_secs(15), 5);
        let periods: Vec<_> = (0..4).map(|_| schedule.period()).collect();
        periods.iter().flatten().map(|step| format!("{:?} {}", step.at, step.event)).collect()
    }

    #[test]
    fn a_seed_makes_a_schedule_that_contains_every_attack_and_fault() {
        assert_eq!(printed(1), printed(1));
        assert_ne!(printed(1), printed(2));
        let all = printed(1).join("\n");
        for Words(_, _, begin, end) in &FAULTS {
            assert!(all.contains(begin) && end.is_none_or(|end| all.contains(end)), "{begin} in {all}");
        }
        for attack in attacks() {
            assert!(all.contains(attack.what), "{} in {all}", attack.what);
        }
    }

    #[test]
    fn faults_end_before_their_period_ends() {
        let period = Duration::from_secs(60);
        let mut schedule = Schedule::new(3, period, 5);
        for _ in 0..100 {
            let steps = schedule.period();
            assert!(steps.iter().all(|step| step.at <= period.mul_f64(BUSY.1)), "{steps:?}");
            let open = |steps: &[Step]| {
                let begun =
                    steps.iter().filter(|step| matches!(step.event, Event::Begin(fault) if fault.words().3.is_some()));
                begun.count() - steps.iter().filter(|step| matches!(step.event, Event::End(_))).count()
            };
            assert_eq!(open(&steps), 0, "{steps:?}");
        }
    }
}
