//! Makes the drained flow table of one interval after another: new flows between many hosts, or port scans.

use std::time::Duration;

use anyhow::{Result, ensure};
use flowml_common::headers::protocol;
use flowml_common::packet::{self, Hook};
use flowml_common::table::{Metered, Seed, Shape, meter};
use flowml_common::time::Boundaries;
use flowml_tests::frames::{Frame, Ipv4, Ports, Tcp, flag};
use flowml_user::capture::vectors::VecTable;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Length of an interval, in ns.
const INTERVAL_NS: u64 = 1_000_000_000;

/// Start of the first interval: Unix time in ns.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// Time between two packets of a flow, in ns.
const GAP_NS: u64 = 1_000_000;

/// Ports that a scanner tries. The test for scans needs fewer.
pub(crate) const PROBES: u32 = 40;

/// First addresses of the hosts with normal traffic, of scanners and of scanned hosts: 10.0.0.0, 172.16.0.0, 172.24.0.0.
const HOSTS: u32 = 10 << 24;
const SCANNERS: u32 = 172 << 24 | 16 << 16;
const SCANNED: u32 = 172 << 24 | 24 << 16;

/// Ports of a client, from the first one on. All flows of a run have different clients.
const FIRST_PORT: u64 = 1024;
const CLIENT_PORTS: u64 = 60_000;

/// A prime number that divides no number of hosts, so that its multiples are every host once, in a scattered order.
const SCATTER: u64 = 2_654_435_761;

/// A packet: whether the client sends it, its TCP flags, and its payload in bytes.
type Step = (bool, u8, usize);

const DNS: [Step; 2] = [(true, 0, 40), (false, 0, 120)];

const WEB: [Step; 8] = [
    (true, flag::SYN, 0),
    (false, flag::SYN | flag::ACK, 0),
    (true, flag::ACK | flag::PSH, 300),
    (false, flag::ACK, 1448),
    (false, flag::ACK | flag::PSH, 900),
    (true, flag::FIN | flag::ACK, 0),
    (false, flag::FIN | flag::ACK, 0),
    (true, flag::ACK, 0),
];

const CLOSED_PORT: [Step; 2] = [(true, flag::SYN, 0), (false, flag::RST | flag::ACK, 0)];

/// A kind of flow: its frames, in which addresses and ports are replaced.
struct Exchange {
    /// Whether the client sends the frame, and its bytes.
    frames: Vec<(bool, Vec<u8>)>,
}

/// An address and a port.
#[derive(Clone, Copy)]
struct End {
    host: u32,
    port: u16,
}

impl Exchange {
    fn new(protocol: u8, steps: &[Step]) -> Self {
        let frame = |&(from_client, flags, payload): &Step| {
            let ip = Frame::default().ipv4(&Ipv4::default());
            let transport = match protocol {
                protocol::TCP => ip.tcp(&Tcp { flags, ..Tcp::default() }),
                _ => ip.udp(Ports::default()),
            };
            (from_client, transport.payload(&[b'x'; 1448][..payload]).finish())
        };
        Self { frames: steps.iter().map(frame).collect() }
    }

    /// Counts a flow that begins at `begin_ns` in the table.
    fn count(&mut self, table: &mut VecTable, client: End, server: End, begin_ns: u64) -> Result<()> {
        for (time_ns, (from_client, bytes)) in (begin_ns..).step_by(GAP_NS as usize).zip(&mut self.frames) {
            let [source, destination] = if *from_client { [client, server] } else { [server, client] };
            // Ethernet and IPv4 headers without options have 34 bytes. The meter checks no checksum.
            bytes[26..30].copy_from_slice(&source.host.to_be_bytes());
            bytes[30..34].copy_from_slice(&destination.host.to_be_bytes());
            bytes[34..36].copy_from_slice(&source.port.to_be_bytes());
            bytes[36..38].copy_from_slice(&destination.port.to_be_bytes());
            let frame = packet::Frame {
                time_ns,
                length: bytes.len() as u32,
                interface: 1,
                hook: Hook::File,
                stripped_vlan: None,
                segments: None,
            };
            let metered = meter(table, &frame, bytes.as_slice());
            let entries = table.counts().entries;
            ensure!(
                metered == Metered::Counted,
                "a frame is {metered:?} with {entries} entries, expected it in a flow"
            );
        }
        Ok(())
    }
}

/// The flows of the intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// DNS requests and web connections, half and half. They end within the interval, and their sessions 2 s later.
    Short,
    /// Pairs of datagrams, whose sessions stay open for the idle timeout.
    Datagrams,
}

/// One interval after another, each as a flow table.
pub(crate) struct Intervals {
    hosts: u64,
    flows: u32,
    kinds: Kinds,
    dns: Exchange,
    web: Exchange,
    closed_port: Exchange,
    random: Xoshiro256PlusPlus,
    table: VecTable,
    /// The number of the next flow.
    next: u64,
    begin_ns: u64,
}

impl Intervals {
    /// Intervals of this number of flows each, between this number of hosts. No interval may have more flows than
    /// `most`, scans included.
    pub(crate) fn new(hosts: u32, flows: u32, kinds: Kinds, most: u32) -> Self {
        // With another seed a flow in many millions may find its tag in both of its buckets, and then no room.
        let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
        let seed = Seed(std::array::from_fn(|_| random.r#gen()));
        // Every flow has one entry: no boundary passes within it.
        let boundaries = Boundaries::new(Duration::MAX, Duration::MAX);
        let table = VecTable::new(Shape::for_capacity(2 * most), seed).with_boundaries(boundaries);
        Self {
            hosts: hosts.into(),
            flows,
            kinds,
            dns: Exchange::new(protocol::UDP, &DNS),
            web: Exchange::new(protocol::TCP, &WEB),
            closed_port: Exchange::new(protocol::TCP, &CLOSED_PORT),
            random,
            table,
            next: 0,
            begin_ns: BEGIN_NS,
        }
    }

    /// The flow table at the end of the interval.
    pub(crate) const fn table(&self) -> &VecTable {
        &self.table
    }

    /// The start of the interval, in ns.
    pub(crate) const fn begin_ns(&self) -> u64 {
        self.begin_ns
    }

    /// The end of the interval, in ns.
    pub(crate) const fn end_ns(&self) -> u64 {
        self.begin_ns + INTERVAL_NS
    }

    /// Goes on to the next interval, and fills the table with its flows.
    pub(crate) fn advance(&mut self) -> Result<()> {
        self.begin_ns += INTERVAL_NS;
        self.table.clear();
        let begins: Vec<u64> = self.begins(self.flows).collect();
        for begin_ns in begins {
            let index = self.next.wrapping_mul(SCATTER) % self.hosts;
            let block = self.next / self.hosts;
            let client = End { host: HOSTS + index as u32, port: (FIRST_PORT + block % CLIENT_PORTS) as u16 };
            let server = HOSTS + ((index + self.random.gen_range(1..self.hosts)) % self.hosts) as u32;
            let (exchange, port) = match self.kinds {
                Kinds::Short if (block + self.next) % 2 == 1 => (&mut self.web, 443),
                Kinds::Short | Kinds::Datagrams => (&mut self.dns, 53),
            };
            exchange.count(&mut self.table, client, End { host: server, port }, begin_ns)?;
            self.next += 1;
        }
        Ok(())
    }

    /// Replaces the flows of the interval by port scans of this number of hosts, each by another scanner.
    pub(crate) fn scans(&mut self, scanners: u32) -> Result<()> {
        self.table.clear();
        let begins: Vec<u64> = self.begins(scanners * PROBES).collect();
        for (number, begin_ns) in (0..).zip(begins) {
            let (scanner, probe) = (number / PROBES, (number % PROBES) as u16);
            let client = End { host: SCANNERS + scanner, port: 40_000 + probe };
            let server = End { host: SCANNED + scanner, port: 1 + probe };
            self.closed_port.count(&mut self.table, client, server, begin_ns)?;
        }
        Ok(())
    }

    /// The starts of this number of flows, spread over the interval so that all flows end within it.
    fn begins(&self, flows: u32) -> impl Iterator<Item = u64> + use<> {
        let (begin_ns, flows) = (self.begin_ns, u64::from(flows));
        (0..flows).map(move |number| begin_ns + number * (INTERVAL_NS * 9 / 10) / flows)
    }
}
