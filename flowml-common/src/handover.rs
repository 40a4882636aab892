//! What an agent leaves to the next one: how the flow table was made, how far its draining has come, what was taken from it.
//!
//! It lies in a map that only agents read and write. A word is written whole, so each step of a drain ends with the write of
//! one word, and an agent may be killed between any two.

use bytemuck::{Pod, Zeroable};

use crate::packet::Skipped;
use crate::table::{Count, Head, Seed};
use crate::time::Boundaries;

/// The number of the layout of the maps that outlive an agent, and of what their contents mean. Whoever changes any of it
/// raises the number, so that an agent leaves alone what it would misread.
pub const LAYOUT: u64 = 1;

/// The first word of every [`Handover`], of whatever layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"flowml\0\x01");

/// All of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Handover {
    /// [`MAGIC`] and [`LAYOUT`]: these two have the same place in every layout.
    pub start: [u64; 2],
    /// The number (inode) of the network namespace of the interfaces.
    pub namespace: u64,
    /// How the table was made.
    pub constants: Constants,
    /// Drains whose copies are in the account.
    pub committed: u64,
    /// Drains whose partitions were cleared: as many as were committed, or one less.
    pub cleared: u64,
    /// The number of committed drains when the last agent that ended in order had written all that it took.
    pub reported: u64,
    /// The account after an even and after an odd number of committed drains: one of the two is valid, the other is written.
    pub accounts: [Account; 2],
}

/// The constants of the programs that a table is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Constants {
    /// CPU numbers that have partitions.
    pub cpus: u32,
    /// Buckets of a partition.
    pub buckets: u32,
    /// Payload bytes that are kept of each direction.
    pub payload: u32,
    /// Nothing.
    pub reserved: u32,
    /// The secret of the flow hash.
    pub seed: Seed,
    /// Where an entry has to end.
    pub boundaries: Boundaries,
}

/// What all agents took from a table: received = in flows + skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Account {
    /// All that the programs were given.
    pub received: Count,
    /// What is in flows.
    pub in_flows: Count,
    /// What is in none, by [`Skipped`].
    pub skipped: [Count; Skipped::COUNT],
    /// What had been received when the agent began that wrote this.
    pub earlier: Count,
    /// Of that, what agents took that did not end in order, so that they may have lost it, and what others left open for the next
    /// one, which is lost where nobody goes on with it.
    pub unreported: Count,
}

impl Account {
    /// Adds a drain.
    pub fn add(&mut self, head: &Head, in_flows: Count) {
        self.received.add(head.received.packets, head.received.bytes);
        self.in_flows.add(in_flows.packets, in_flows.bytes);
        for (sum, count) in self.skipped.iter_mut().zip(&head.skipped) {
            sum.add(count.packets, count.bytes);
        }
    }
}
