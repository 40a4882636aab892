//! Synthetic host windows for tests: a few hosts with normal traffic, second by second, and attacks on them.
//!
//! Each host turns on and off, and opens flows with log-normal sizes to a few peers and ports. Each second gives one
//! row for the last two seconds, so that rows of one host resemble each other like real ones.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal, Poisson};
use rand_xoshiro::Xoshiro256Plus;

use crate::features::{Column, Feature, Learn, Of};

/// One flow in one second, as seen by its host.
#[derive(Clone, Copy, Default)]
struct SeenFlow {
    peer: u32,
    port: u16,
    /// The initiator's port, which distinguishes flows.
    source: u16,
    /// Whether the host is the initiator (role source) or the responder (role destination).
    opened_here: bool,
    new: bool,
    out: f64,
    back: f64,
    bytes_out: f64,
    bytes_in: f64,
    syn: f64,
    synack: f64,
    rst: f64,
    small: f64,
}

/// Two seconds of one host.
pub(crate) struct Window {
    seen: Vec<SeenFlow>,
}

impl Window {
    fn own(&self) -> impl Iterator<Item = &SeenFlow> {
        self.seen.iter().filter(|s| s.opened_here)
    }

    fn others(&self) -> impl Iterator<Item = &SeenFlow> {
        self.seen.iter().filter(|s| !s.opened_here)
    }

    fn sum(&self, of: impl Fn(&SeenFlow) -> f64) -> f64 {
        self.seen.iter().map(of).sum()
    }

    fn packets(&self) -> f64 {
        self.sum(|s| s.out + s.back)
    }

    /// The ratio of flows without an answer.
    fn unanswered<'a>(flows: impl Iterator<Item = &'a SeenFlow>) -> f64 {
        let mut answers: BTreeMap<(u32, u16, u16), (f64, f64)> = BTreeMap::new();
        for s in flows {
            let (asked, answered) = answers.entry((s.peer, s.port, s.source)).or_default();
            *asked += if s.opened_here { s.out } else { s.back };
            *answered += if s.opened_here { s.back } else { s.out };
        }
        let without = answers.values().filter(|(_, answered)| *answered == 0.0).count();
        without as f64 / answers.len() as f64
    }
}

fn distinct<'a, K: Ord>(flows: impl Iterator<Item = &'a SeenFlow>, key: impl Fn(&SeenFlow) -> K) -> f64 {
    flows.map(key).collect::<BTreeSet<K>>().len() as f64
}

fn entropy<K: Ord>(seen: &[SeenFlow], key: impl Fn(&SeenFlow) -> K) -> f64 {
    let mut weights: BTreeMap<K, f64> = BTreeMap::new();
    for s in seen {
        *weights.entry(key(s)).or_default() += s.out + s.back;
    }
    let all: f64 = weights.values().sum();
    weights.values().filter(|w| **w > 0.0).map(|w| -w / all * (w / all).log2()).sum()
}

macro_rules! feature {
    ($name:literal, $unit:literal, $learn:ident, $of:expr) => {
        Feature {
            name: $name,
            unit: $unit,
            meaning: $name,
            learn: Learn::$learn,
            side: None,
            nfstream: false,
            of: Of::Real($of),
        }
    };
}

/// The columns of the rows.
pub(crate) const FEATURES: &[Feature<Window>] = &[
    feature!("address", "", Never, |w| w.seen.len() as f64),
    feature!("src_flows", "flows", LogScaled, |w| distinct(w.own(), |s| (s.peer, s.port, s.source))),
    feature!("src_new_flows", "flows", LogScaled, |w| w.own().filter(|s| s.new).count() as f64),
    feature!("src_peers", "hosts", LogScaled, |w| distinct(w.own(), |s| s.peer)),
    feature!("dst_ports", "ports", LogScaled, |w| distinct(w.own(), |s| s.port)),
    feature!("src_unanswered_share", "share", Ratio, |w| Window::unanswered(w.own())),
    feature!("in_flows", "flows", LogScaled, |w| distinct(w.others(), |s| (s.peer, s.port, s.source))),
    feature!("in_new_flows", "flows", LogScaled, |w| w.others().filter(|s| s.new).count() as f64),
    feature!("in_peers", "hosts", LogScaled, |w| distinct(w.others(), |s| s.peer)),
    feature!("in_ports", "ports", LogScaled, |w| distinct(w.others(), |s| s.port)),
    feature!("in_unanswered_share", "share", Ratio, |w| Window::unanswered(w.others())),
    feature!("packets_out", "packets", LogScaled, |w| w.sum(|s| s.out)),
    feature!("packets_in", "packets", LogScaled, |w| w.sum(|s| s.back)),
    feature!("bytes_out", "bytes", LogScaled, |w| w.sum(|s| s.bytes_out)),
    feature!("bytes_in", "bytes", LogScaled, |w| w.sum(|s| s.bytes_in)),
    feature!("bytes_out_share", "share", Ratio, |w| w.sum(|s| s.bytes_out) / w.sum(|s| s.bytes_out + s.bytes_in)),
    feature!("syn_share", "share", Ratio, |w| w.sum(|s| s.syn) / w.packets()),
    feature!("synack_share", "share", Ratio, |w| w.sum(|s| s.synack) / w.packets()),
    feature!("rst_share", "share", Ratio, |w| w.sum(|s| s.rst) / w.packets()),
    feature!("small_share", "share", Ratio, |w| w.sum(|s| s.small) / w.packets()),
    feature!("peer_entropy", "bits", Ratio, |w| entropy(&w.seen, |s| s.peer)),
    feature!("port_entropy", "bits", Ratio, |w| entropy(&w.seen, |s| s.port)),
];

/// The columns of [`FEATURES`].
pub(crate) fn columns() -> Vec<Column> {
    FEATURES.iter().map(|f| Column { name: f.name, unit: f.unit, meaning: f.meaning, learn: f.learn }).collect()
}

/// The normal behaviour of a host.
#[derive(Clone, Copy)]
struct Habit {
    ports: &'static [u16],
    peers: u32,
    /// New flows per second while on.
    flows: f64,
    /// The probability per second to turn on or off.
    on: f64,
    off: f64,
    /// Packets per second and flow (median, and spread of the logarithm), and bytes per packet in each direction.
    packets: (f64, f64),
    sizes: (f64, f64),
    /// The probability that a flow lasts another second.
    lasts: f64,
    /// Whether the flows are TCP, with SYN and SYN-ACK.
    tcp: bool,
    opens: bool,
}

#[rustfmt::skip]
const HABITS: [Habit; 6] = [
    // Browsing.
    Habit { ports: &[443, 80], peers: 12, flows: 2.5, on: 0.15, off: 0.15, lasts: 0.4, tcp: true, opens: true,
        packets: (12.0, 1.0), sizes: (90.0, 900.0) },
    // Name look-ups.
    Habit { ports: &[53], peers: 2, flows: 1.5, on: 0.3, off: 0.2, lasts: 0.0, tcp: false, opens: true,
        packets: (1.0, 0.1), sizes: (70.0, 180.0) },
    // A web server.
    Habit { ports: &[443, 80], peers: 8, flows: 5.0, on: 0.5, off: 0.05, lasts: 0.4, tcp: true, opens: false,
        packets: (14.0, 0.9), sizes: (850.0, 95.0) },
    // A stream or a download.
    Habit { ports: &[443], peers: 2, flows: 0.1, on: 0.1, off: 0.1, lasts: 0.9, tcp: true, opens: true,
        packets: (400.0, 0.5), sizes: (60.0, 1350.0) },
    // A terminal session.
    Habit { ports: &[22], peers: 1, flows: 0.15, on: 0.2, off: 0.1, lasts: 0.93, tcp: true, opens: true,
        packets: (6.0, 0.8), sizes: (90.0, 120.0) },
    // Keep-alives.
    Habit { ports: &[123, 5222], peers: 3, flows: 0.3, on: 0.9, off: 0.02, lasts: 0.3, tcp: false, opens: true,
        packets: (1.0, 0.3), sizes: (76.0, 76.0) },
];

/// The habits of each kind of host, as indices into [`HABITS`].
const KINDS: [&[usize]; 5] = [&[0, 1, 5], &[2, 5], &[3, 1], &[4, 5, 1], &[0, 1, 4]];

struct Live {
    peer: u32,
    port: u16,
    source: u16,
    habit: usize,
    packets: f64,
    answered: bool,
    new: bool,
}

struct Host {
    habits: &'static [usize],
    on: Vec<bool>,
    live: Vec<Live>,
    before: Vec<SeenFlow>,
}

/// An attack of one host on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Many ports of the victim, answered with RST.
    Scan,
    /// One port of the victim; many SYN, few answers.
    SynFlood,
    /// One port of the victim; many datagrams, no answers.
    UdpFlood,
    /// One port of many hosts.
    Sweep,
}

/// The number of the attacking host.
pub(crate) const ATTACKER: usize = 0;
/// The number of the attacked host.
pub(crate) const VICTIM: usize = 1;

/// Several hosts and their traffic.
pub(crate) struct Network {
    hosts: Vec<Host>,
    rng: Xoshiro256Plus,
}

impl Network {
    pub(crate) fn new(hosts: usize, seed: u64) -> Self {
        let host = |number: usize| {
            let habits = KINDS[number % KINDS.len()];
            Host { habits, on: vec![true; habits.len()], live: Vec::new(), before: Vec::new() }
        };
        Self { hosts: (0..hosts).map(host).collect(), rng: Xoshiro256Plus::seed_from_u64(seed) }
    }

    /// Simulates one more second, with or without an attack, and returns the rows and the host of each.
    pub(crate) fn second(&mut self, attack: Option<Attack>) -> (Array2<f64>, Vec<usize>) {
        let mut now: Vec<Vec<SeenFlow>> = Vec::new();
        for host in &mut self.hosts {
            now.push(host.second(&mut self.rng));
        }
        if let Some(attack) = attack {
            let (attacker, victim) = attack.second(&mut self.rng);
            now[ATTACKER].extend(attacker);
            now[VICTIM].extend(victim);
        }
        let mut rows = Vec::new();
        let mut whose = Vec::new();
        for (number, (host, seen)) in self.hosts.iter_mut().zip(now).enumerate() {
            let window = Window { seen: host.before.iter().chain(&seen).copied().collect() };
            host.before = seen;
            if !window.seen.is_empty() {
                rows.extend(FEATURES.iter().map(|feature| feature.value(&window)));
                whose.push(number);
            }
        }
        (Array2::from_shape_vec((whose.len(), FEATURES.len()), rows).expect("one value for each feature"), whose)
    }
}

impl Host {
    fn second(&mut self, rng: &mut Xoshiro256Plus) -> Vec<SeenFlow> {
        for (on, &habit) in self.on.iter_mut().zip(self.habits) {
            let flip = if *on { HABITS[habit].off } else { HABITS[habit].on };
            *on ^= rng.gen_bool(flip);
            let opened = if *on { Poisson::new(HABITS[habit].flows).expect("positive").sample(rng) } else { 0.0 };
            for _ in 0..opened as usize {
                self.live.push(open(habit, rng));
            }
        }
        let seen = self.live.iter_mut().map(|flow| flow.second(rng)).collect();
        self.live.retain(|flow| rng.gen_bool(HABITS[flow.habit].lasts));
        seen
    }
}

fn open(habit: usize, rng: &mut Xoshiro256Plus) -> Live {
    let Habit { ports, peers, packets: (median, spread), .. } = HABITS[habit];
    // Peers are chosen with unequal frequencies.
    let peer = (f64::from(peers) * rng.r#gen::<f64>().powi(2)) as u32 + 100 * habit as u32;
    let port = if rng.gen_bool(0.01) { rng.gen_range(1024..9000) } else { ports[rng.gen_range(0..ports.len())] };
    let packets = LogNormal::new(median.ln(), spread).expect("finite").sample(rng);
    Live { peer, port, source: rng.gen_range(1024..60000), habit, packets, answered: rng.gen_bool(0.98), new: true }
}

impl Live {
    fn second(&mut self, rng: &mut Xoshiro256Plus) -> SeenFlow {
        let Habit { tcp, opens, sizes: (size_out, size_in), .. } = HABITS[self.habit];
        let packets = (self.packets * LogNormal::new(0.0, 0.3).expect("finite").sample(rng)).ceil();
        let first = f64::from(u8::from(self.new && tcp));
        let out = if self.answered || opens { packets + first } else { 0.0 };
        let back = if self.answered || !opens { packets + first } else { 0.0 };
        let small = if size_in > 300.0 || size_out > 300.0 {
            packets * rng.gen_range(0.8..1.0) + 2.0 * first
        } else {
            out + back
        };
        let end = f64::from(u8::from(tcp && rng.gen_bool(0.02)));
        let seen = SeenFlow {
            peer: self.peer,
            port: self.port,
            source: self.source,
            opened_here: opens,
            new: self.new,
            out,
            back,
            bytes_out: out * size_out,
            bytes_in: back * size_in,
            syn: first,
            synack: if self.answered { first } else { 0.0 },
            rst: end,
            small: small.min(out + back),
        };
        self.new = false;
        seen
    }
}

impl Attack {
    /// The flows of one second of the attack, as seen by the attacker and by the victim.
    fn second(self, rng: &mut Xoshiro256Plus) -> (Vec<SeenFlow>, Vec<SeenFlow>) {
        let flow = |peer: usize, port, new, out: f64, back: f64, size: f64| SeenFlow {
            peer: peer as u32,
            port,
            opened_here: true,
            new,
            out,
            back,
            bytes_out: out * size,
            bytes_in: back * 40.0,
            small: if size < 200.0 { out + back } else { back },
            ..SeenFlow::default()
        };
        let mut attacker: Vec<SeenFlow> = match self {
            Self::Scan => (0..500)
                .map(|_| SeenFlow { syn: 1.0, rst: 1.0, ..flow(VICTIM, rng.gen_range(1..10000), true, 1.0, 1.0, 44.0) })
                .collect(),
            Self::SynFlood => (0..2000)
                .map(|_| SeenFlow {
                    syn: 1.0,
                    ..flow(VICTIM, 80, true, 1.0, f64::from(u8::from(rng.gen_bool(0.1))), 40.0)
                })
                .collect(),
            Self::UdpFlood => vec![flow(VICTIM, 5001, false, 100_000.0, 0.0, 500.0)],
            Self::Sweep => (0..100)
                .map(|_| SeenFlow { syn: 1.0, ..flow(rng.gen_range(1000..60000), 445, true, 1.0, 0.0, 44.0) })
                .collect(),
        };
        for seen in &mut attacker {
            seen.source = rng.gen_range(1024..60000);
        }
        let mirror = |s: &SeenFlow| SeenFlow {
            peer: ATTACKER as u32,
            opened_here: false,
            out: s.back,
            back: s.out,
            bytes_out: s.bytes_in,
            bytes_in: s.bytes_out,
            ..*s
        };
        let victim = if self == Self::Sweep { Vec::new() } else { attacker.iter().map(mirror).collect() };
        (attacker, victim)
    }
}
