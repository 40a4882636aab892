//! The state that an agent leaves to the next one: the table's constants, the progress of its drains, and the counts taken from it.
//!
//! It is in a map that only agents read and write. A word is written atomically. Each step of a drain ends with the
//! write of one word, so an agent may be killed between any two steps.

use bytemuck::{Pod, Zeroable};

use crate::packet::Skipped;
use crate::table::{Count, Head, Seed, add_counts};
use crate::time::Boundaries;
use crate::tunnel::PortList;

/// The number of the layout and of the meaning of the maps that outlive an agent. A change of either needs a new
/// number, so that an agent refuses a table that it would misread.
pub const LAYOUT: u64 = 4;

/// The first word of every [`Handover`], in every layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"flowml\0\x01");

/// The complete state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Handover {
    /// [`MAGIC`] and [`LAYOUT`]. They have the same position in every layout.
    pub start: [u64; 2],
    /// Inode number of the network namespace of the interfaces.
    pub namespace: u64,
    /// The constants that the table was made for.
    pub constants: Constants,
    /// Number of drains whose copies are in the packet accounting.
    pub committed: u64,
    /// Number of drains whose partitions were cleared: `committed`, or one less.
    pub cleared: u64,
    /// The value of `committed` when the last agent that ended normally had written everything that it took.
    pub reported: u64,
    /// The accounts after an even and after an odd number of committed drains. One of them is valid, and the other is
    /// written next.
    pub accounts: [Account; 2],
}

/// The constants of the programs. A table is created for one set of these constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Constants {
    /// Number of CPU numbers that have partitions.
    pub cpus: u32,
    /// Number of buckets in a partition.
    pub buckets: u32,
    /// Number of payload bytes that are kept for each direction.
    pub payload: u32,
    /// 1 if tunnels are looked into, else 0.
    pub tunnels: u32,
    /// The ports of tunnels, if they are looked into.
    pub ports: PortList,
    /// The secret of the flow hash.
    pub seed: Seed,
    /// The boundaries at which an entry ends.
    pub boundaries: Boundaries,
}

/// The packets and bytes that all agents took from a table: received = in flows + skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Account {
    /// All packets that the programs received.
    pub received: Count,
    /// Packets in flows.
    pub in_flows: Count,
    /// Packets in no flow, by [`Skipped`].
    pub skipped: [Count; Skipped::COUNT],
    /// The value of `received` when the agent that wrote this accounting started.
    pub earlier: Count,
    /// The part of `earlier` that may be in no record. It contains the counts of agents that did not end normally, and
    /// the open sessions that an agent left to the next one. These are lost if no agent continues them.
    pub unreported: Count,
}

impl Account {
    /// Adds the counts of a drain.
    pub fn add(&mut self, head: &Head, in_flows: Count) {
        self.received.add(head.received.packets, head.received.bytes);
        self.in_flows.add(in_flows.packets, in_flows.bytes);
        add_counts(&mut self.skipped, &head.skipped);
    }
}
