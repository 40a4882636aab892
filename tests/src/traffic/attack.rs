//! Attacks between two hosts of a laboratory, with a fixed number of packets or connections.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::peers::{Exchange, TcpClient};
use super::raw::{FlowSpray, FrameSender, Rate, Sent};
use crate::frames::{Frame, Ipv4, Ports, Tcp, flag};
use crate::lab::{Interface, IpVersion};

/// The hosts of an attack, and the seed of its random choices.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The host that attacks.
    pub attacker: &'a Interface,
    /// The host that is attacked. Attacks by connections need the services of a [`super::background::Background`]
    /// there.
    pub victim: &'a Interface,
    /// Seed of all random choices.
    pub seed: u64,
}

/// An attack for demonstrations: it takes a few seconds and is easy to detect.
#[derive(Debug, Clone, Copy)]
pub struct Attack {
    /// Words joined by underscores.
    pub name: &'static str,
    /// A description in one line.
    pub what: &'static str,
    /// Runs it to its end.
    pub launch: fn(Scene<'_>) -> Result<()>,
}

impl Attack {
    pub(crate) const fn new(name: &'static str, what: &'static str, launch: fn(Scene<'_>) -> Result<()>) -> Self {
        Self { name, what, launch }
    }
}

/// Every kind of attack.
pub const ATTACKS: &[Attack] = &[
    Attack::new("port_scan", "SYN to ports 1 to 2000 of one host", |scene| port_scan(scene, 2000, 1000).map(drop)),
    Attack::new("sweep", "SYN to port 445 of 1000 hosts behind one router", |scene| {
        sweep(scene, 445, 1000, 500).map(drop)
    }),
    Attack::new("syn_flood", "SYN to port 80 from spoofed sources, 20,000 a second", |scene| {
        syn_flood(scene, 80, 60_000, 20_000).map(drop)
    }),
    Attack::new("udp_flood", "datagrams of 512 bytes to random ports, 10,000 a second", |scene| {
        udp_flood(scene, 512, 30_000, 10_000).map(drop)
    }),
    Attack::new("exfiltration", "an upload of 40 MB by a host that otherwise downloads", |scene| {
        exfiltration(scene, 40 << 20, 10 << 20)
    }),
    Attack::new("slow_connections", "200 requests to port 80 that are never finished", |scene| {
        slow_connections(scene, 80, 200, Duration::from_secs(5))
    }),
    Attack::new("brute_force", "150 short logins to port 22, 30 a second", |scene| brute_force(scene, 150, 30)),
];

/// An attack of so few packets that it is detected only by its regular period.
pub const BEACON: Attack = Attack::new("beacon", "a short request to port 443 every second, 12 times", |scene| {
    beacon(scene, 12, Duration::from_secs(1))
});

/// TCP SYN to ports 1 to `ports` in random order, as nmap sends them. The victim answers.
pub fn port_scan(scene: Scene<'_>, ports: u16, rate: u32) -> Result<Sent> {
    scan_of(scene, 1..=ports, rate)
}

/// The same to these ports.
pub fn scan_of(scene: Scene<'_>, ports: RangeInclusive<u16>, rate: u32) -> Result<Sent> {
    let mut random = scene.random();
    let mut order: Vec<u16> = ports.collect();
    order.shuffle(&mut random);
    let source_port = random.gen_range(32_768..61_000);
    let frames = order.into_iter().map(|port| {
        let header = Ipv4 { identification: random.r#gen(), ttl: random.gen_range(37..60), ..scene.ipv4() };
        scene.frame().ipv4(&header).tcp(&syn(source_port, port, random.r#gen())).finish()
    });
    scene.send(&frames.collect::<Vec<_>>(), 1, rate)
}

/// TCP SYN to one port of many hosts in 10.80.0.0/16. The victim is their router.
pub fn sweep(scene: Scene<'_>, port: u16, hosts: u16, rate: u32) -> Result<Sent> {
    let mut random = scene.random();
    let frames = (1..=hosts).map(|host| {
        let [high, low] = host.to_be_bytes();
        let header = Ipv4 { destination: Ipv4Addr::new(10, 80, high, low), ..scene.ipv4() };
        scene.frame().ipv4(&header).tcp(&syn(random.gen_range(32_768..61_000), port, random.r#gen())).finish()
    });
    scene.send(&frames.collect::<Vec<_>>(), 1, rate)
}

/// TCP SYN to one port, each from another source in 10.78.0.0/16.
pub fn syn_flood(scene: Scene<'_>, port: u16, packets: u32, rate: u32) -> Result<Sent> {
    let template = scene.frame().ipv4(&scene.ipv4()).tcp(&syn(0, port, scene.random().r#gen())).finish();
    // 2^32 divided by the golden ratio: consecutive multiples are far apart.
    let spray = FlowSpray { template, flows: packets, packets: u64::from(packets), first: 0, step: 0x9e37_79b1 };
    FrameSender::open(scene.attacker)?.spray(&spray, Rate::PerSecond(rate))
}

/// Datagrams with `payload` bytes from one port to random ports. The victim answers some of them with ICMP errors.
pub fn udp_flood(scene: Scene<'_>, payload: usize, packets: u32, rate: u32) -> Result<Sent> {
    let mut random = scene.random();
    let source = random.gen_range(32_768..61_000);
    let frames = (0..packets).map(|_| {
        let ports = Ports { source, destination: random.gen_range(1024..=u16::MAX) };
        scene.frame().ipv4(&scene.ipv4()).udp(ports).payload(&vec![0x58; payload]).finish()
    });
    scene.send(&frames.collect::<Vec<_>>(), 1, rate)
}

/// One upload of `bytes` bytes to port 443 of the victim, at `rate` bytes a second.
pub fn exfiltration(scene: Scene<'_>, bytes: u32, rate: u32) -> Result<()> {
    const PIECE: u32 = 32 << 10;
    let mut connection = scene.connect(443)?;
    let pause = Duration::from_secs_f64(f64::from(PIECE) / f64::from(rate.max(1)));
    connection.exchange_slowly(Exchange { request: bytes, response: 100 }, PIECE as usize, pause)
}

/// Opens connections and sends a few bytes of a request on each, every half second, until `duration` has passed.
pub fn slow_connections(scene: Scene<'_>, port: u16, connections: usize, duration: Duration) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(500);
    let mut open = (0..connections).map(|_| scene.connect(port)).collect::<Result<Vec<_>>>()?;
    // The request is so long that it never ends at a few bytes at a time.
    let request = Exchange { request: 100_000, response: 1 };
    open.iter_mut().try_for_each(|connection| connection.begin(request))?;
    for _ in 0..duration.as_millis() / PAUSE.as_millis() {
        thread::sleep(PAUSE);
        open.iter_mut().try_for_each(|connection| connection.go_on(1))?;
    }
    Ok(())
}

/// Short connections to port 22, each as long as a refused login.
pub fn brute_force(scene: Scene<'_>, attempts: u32, rate: u32) -> Result<()> {
    for _ in 0..attempts {
        let mut connection = scene.connect(22)?;
        for exchange in [Exchange { request: 1500, response: 1600 }, Exchange { request: 120, response: 60 }] {
            connection.exchange(exchange)?;
        }
        thread::sleep(Duration::from_secs(1) / rate.max(1));
    }
    Ok(())
}

/// Short requests to port 443, each on its own connection, at a fixed interval.
pub fn beacon(scene: Scene<'_>, requests: u32, pause: Duration) -> Result<()> {
    for _ in 0..requests {
        scene.connect(443)?.exchange(Exchange { request: 200, response: 300 })?;
        thread::sleep(pause);
    }
    Ok(())
}

fn syn(source_port: u16, destination_port: u16, sequence: u32) -> Tcp {
    let mss_1460 = vec![2, 4, 0x05, 0xb4];
    Tcp {
        source_port,
        destination_port,
        sequence,
        acknowledgment: 0,
        flags: flag::SYN,
        window: 1024,
        options: mss_1460,
    }
}

impl Scene<'_> {
    fn random(self) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(self.seed)
    }

    fn frame(self) -> Frame {
        Frame::between(self.attacker.mac, self.victim.mac)
    }

    fn ipv4(self) -> Ipv4 {
        Ipv4 { source: self.attacker.v4, destination: self.victim.v4, ..Ipv4::default() }
    }

    fn send(self, frames: &[Vec<u8>], times: u64, rate: u32) -> Result<Sent> {
        FrameSender::open(self.attacker)?.send(frames, times, Rate::PerSecond(rate))
    }

    fn connect(self, port: u16) -> Result<TcpClient> {
        TcpClient::connect(&self.attacker.host, self.victim.socket(IpVersion::V4, port))
            .with_context(|| format!("attacking port {port} of {}", self.victim.host.name()))
    }
}
