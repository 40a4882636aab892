//! Merging the statistics of the partial flows of a flow.

use core::cmp::Ordering;

use crate::time::to_micros;

use super::stats::{Direction, FlowStats};
use super::tcp::Opening;

/// The inter-arrival time of two packets, in µs: the difference of their whole microseconds. The first must not be
/// later.
const fn gap_us(before_ns: u64, now_ns: u64) -> u64 {
    to_micros(now_ns) - to_micros(before_ns)
}

impl Direction {
    /// Counts an inter-arrival time between partial flows.
    fn sample(&mut self, gap_us: u64) {
        self.iat_squares += u128::from(gap_us).pow(2);
        self.iat_min_us = self.iat_min_us.min(gap_us);
        self.iat_max_us = self.iat_max_us.max(gap_us);
    }

    fn merge(&mut self, other: &Self) {
        if other.packets == 0 {
            return;
        }
        if self.packets == 0 {
            *self = *other;
            return;
        }
        let first = (other.first_ns, other.window, other.dscp).cmp(&(self.first_ns, self.window, self.dscp));
        if first == Ordering::Less {
            (self.first_ns, self.window, self.dscp) = (other.first_ns, other.window, other.dscp);
        }
        self.opening = self.opening.max(other.opening);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.packets += other.packets;
        self.frame_bytes += other.frame_bytes;
        self.ip_bytes += other.ip_bytes;
        self.payload_bytes += other.payload_bytes;
        self.length_squares = self.length_squares.saturating_add(other.length_squares);
        self.iat_squares += other.iat_squares;
        for (mine, theirs) in self.flags.iter_mut().zip(other.flags) {
            *mine += theirs;
        }
        self.payload_packets += other.payload_packets;
        self.parts = self.parts.saturating_add(other.parts);
        self.iat_min_us = self.iat_min_us.min(other.iat_min_us);
        self.iat_max_us = self.iat_max_us.max(other.iat_max_us);
        self.length_min = self.length_min.min(other.length_min);
        self.length_max = self.length_max.max(other.length_max);
        self.ttl_min = self.ttl_min.min(other.ttl_min);
        self.ttl_max = self.ttl_max.max(other.ttl_max);
    }

    /// The inter-arrival time to a partial flow that starts after this one ends, in µs.
    fn gap_us(&self, next: &Self) -> Option<u64> {
        let apart = self.packets > 0 && next.packets > 0 && self.last_ns <= next.first_ns;
        apart.then(|| gap_us(self.last_ns, next.first_ns))
    }
}

impl FlowStats {
    /// Counts an inter-arrival time between partial flows.
    fn sample(&mut self, gap_us: u64) {
        self.iat_squares += u128::from(gap_us).pow(2);
        self.iat_min_us = self.iat_min_us.min(gap_us);
        self.iat_max_us = self.iat_max_us.max(gap_us);
    }

    /// Adds a partial flow of the same flow that was counted elsewhere. Commutative and associative. No packet is lost,
    /// and no inter-arrival time is added between the two: the sums are those within the partial flows.
    pub fn merge(&mut self, other: &Self) {
        let (first_ns, other_first_ns) = (self.first_ns(), other.first_ns());
        self.firsts = self.firsts.merge(to_micros(first_ns), &other.firsts, to_micros(other_first_ns));
        if (other_first_ns, other.first_sender, other.macs) < (first_ns, self.first_sender, self.macs) {
            (self.first_sender, self.macs) = (other.first_sender, other.macs);
        }
        self.last_ns = self.last_ns.max(other.last_ns);
        self.iat_squares += other.iat_squares;
        for (mine, theirs) in self.lengths.iter_mut().zip(other.lengths) {
            *mine += theirs;
        }
        self.iat_min_us = self.iat_min_us.min(other.iat_min_us);
        self.iat_max_us = self.iat_max_us.max(other.iat_max_us);
        self.parts = self.parts.saturating_add(other.parts);
        self.syn_senders |= other.syn_senders;
        self.hooks |= other.hooks;
        for (mine, theirs) in self.directions.iter_mut().zip(&other.directions) {
            mine.merge(theirs);
        }
    }

    /// Adds a partial flow that was counted later. If it starts after this one ends, the time between them is one more
    /// inter-arrival time, and the result is what one CPU would have counted for all packets.
    pub fn follow(&mut self, next: &Self) {
        let (before, next_first_ns) = (*self, next.first_ns());
        self.merge(next);
        if before.last_ns <= next_first_ns {
            self.sample(gap_us(before.last_ns, next_first_ns));
            self.parts -= 1;
            // If the times are equal, the packets of this partial flow were first.
            (self.first_sender, self.macs) = (before.first_sender, before.macs);
            self.firsts = before.firsts.follow(to_micros(before.first_ns()), &next.firsts, to_micros(next_first_ns));
        }
        for ((direction, before), next) in self.directions.iter_mut().zip(&before.directions).zip(&next.directions) {
            if let Some(gap_us) = before.gap_us(next) {
                direction.sample(gap_us);
                direction.parts -= 1;
                (direction.window, direction.dscp) = (before.window, before.dscp);
                direction.opening = Opening::follow(before.opening, next.opening);
            }
        }
    }
}
