//! Measures the paths of a packet that cost most: many headers, and a full flow table.

use anyhow::{Result, ensure};
use flowml_tests::frames::{Extension, Frame, Ipv4, Ipv6, Ports, Tcp, ether_type};

use crate::effort::Effort;
use crate::programs::{self, Order};
use crate::ratio::{Ratio, median};
use crate::table;

/// Goal: the cost of the slowest normal frame by that of a plain one, both without that of an empty program.
const SLOWEST_GOAL: f64 = 1.3;

/// Flows of the measurement with a full table, and the flows for which that table is made.
const FLOWS: u32 = 1 << 16;
const FEW_FLOWS: u32 = 1 << 11;

/// Costs in ns per packet, one for each round.
pub(crate) struct Paths {
    /// By frame: its description, and the costs without those of the empty program.
    frames: [(&'static str, Vec<f64>); 3],
    full: Vec<f64>,
    known: Vec<f64>,
}

/// The frames, the plain one first and the slowest one second.
fn frames() -> [(&'static str, Vec<u8>); 3] {
    let eight = Extension::DestinationOptions { units: 0 };
    let tagged =
        || Frame::default().tag(ether_type::SERVICE_VLAN, 100).tag(ether_type::VLAN, 200).ipv6(&Ipv6::default());
    let extended = |number: usize| (0..number).fold(tagged(), |frame, _| frame.extension(eight));
    [
        ("IPv4, TCP", Frame::default().ipv4(&Ipv4::default()).tcp(&Tcp::default()).payload(&[0; 10]).finish()),
        (
            "IPv6, two VLAN tags, two extension headers, UDP",
            extended(2).udp(Ports::default()).payload(&[0; 10]).finish(),
        ),
        ("the same with eight extension headers", extended(8).udp(Ports::default()).payload(&[0; 10]).finish()),
    ]
}

pub(crate) fn measure(object: &[u8], effort: Effort) -> Result<Paths> {
    let (rounds, packets) = (effort.pick(31, 1), effort.pick(1 << 18, 1 << 12));
    let mut one = table::load(object, 1, &["empty", "as_is"])?;
    let frames = frames();
    let mut paths = Paths { frames: frames.each_ref().map(|(name, _)| (*name, vec![])), full: vec![], known: vec![] };
    let load = |flows| table::load(object, flows, &["empty", "table"]);
    let (mut room, mut full) = (load(FLOWS)?, load(FEW_FLOWS)?);
    for table in [&mut room, &mut full] {
        programs::walk(table.ebpf(), FLOWS, Order::Scattered)?;
        programs::run(table.ebpf(), "table", FLOWS)?;
    }
    for _ in 0..rounds {
        for ((_, frame), (_, costs)) in frames.iter().zip(&mut paths.frames) {
            let empty = programs::run_with(one.ebpf(), "empty", frame, packets)?;
            costs.push(programs::run_with(one.ebpf(), "as_is", frame, packets)? - empty);
        }
        let empty = programs::run(room.ebpf(), "empty", FLOWS)?;
        paths.known.push(programs::run(room.ebpf(), "table", FLOWS)? - empty);
        paths.full.push(programs::run(full.ebpf(), "table", FLOWS)? - empty);
    }
    let drained = full.drain()?;
    let head = drained.head_total();
    let without_room: u64 = head.overflow.iter().map(|count| count.packets).sum();
    let received = head.received.packets;
    ensure!(without_room > received / 2, "{without_room} of {received} packets found no room, expected most of them");
    Ok(paths)
}

impl Paths {
    pub(crate) fn ratios(&self) -> [Ratio; 2] {
        let ratio = |name: &str, goal, ours: &[f64], theirs: &[f64]| Ratio {
            name: name.to_owned(),
            goal,
            rounds: ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect(),
        };
        let [(_, plain), (_, slowest), _] = &self.frames;
        [
            ratio("slowest_frame_by_plain_frame", Some(SLOWEST_GOAL), slowest, plain),
            ratio("full_table_by_known_flow", None, &self.full, &self.known),
        ]
    }

    pub(crate) fn print(&self) {
        println!("Paths of a packet in ns, without the cost of an empty program");
        let flows = [("known flow, 65536 flows", &self.known), ("no room for the flow, 65536 flows", &self.full)];
        let frames = self.frames.iter().map(|(name, costs)| (*name, costs));
        for (name, costs) in frames.chain(flows) {
            println!("{name:<52} {:>8.1}", median(costs));
        }
        println!();
    }
}
