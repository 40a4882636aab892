//! The statistics of one direction of a flow, or of both.

use flowml_common::flow::{Direction, FlowStats, NO_SAMPLE};
use flowml_common::time::to_micros;

use super::Clock;

/// A TCP flag, numbered by its bit (RFC 9293 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the RFC's names")]
pub enum TcpFlag {
    Fin,
    Syn,
    Rst,
    Psh,
    Ack,
    Urg,
    Ece,
    Cwr,
}

/// Statistics of one direction, or of both together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Number of packets.
    pub packets: u64,
    /// Frame bytes, without FCS.
    pub frame_bytes: u64,
    /// IP bytes (total length).
    pub ip_bytes: u64,
    /// Payload bytes.
    pub payload_bytes: u64,
    /// Number of packets with payload.
    pub payload_packets: u64,
    /// Time of the first packet, in ns of the capture's clock; 0 without packets.
    pub first_ns: u64,
    /// Time of the last packet, in ns of the capture's clock; 0 without packets.
    pub last_ns: u64,
    /// Unix time of the first packet, in whole ms; 0 without packets.
    pub first_ms: u64,
    /// Unix time of the last packet, in whole ms; 0 without packets.
    pub last_ms: u64,
    /// Smallest IP total length, in bytes; 0 without packets.
    pub length_min: u16,
    /// Largest IP total length, in bytes.
    pub length_max: u16,
    /// Σ (IP total length)², in bytes².
    pub length_squares: u64,
    /// Smallest inter-arrival time, in µs; 0 without a sample.
    pub iat_min_us: u64,
    /// Largest inter-arrival time, in µs; 0 without a sample.
    pub iat_max_us: u64,
    /// Σ (inter-arrival time)², in µs².
    pub iat_squares: u128,
    /// Number of runs of packets. The inter-arrival times between runs are unknown.
    pub parts: u32,
    /// Number of packets by [`TcpFlag`].
    pub flags: [u64; 8],
    /// Smallest TTL, in hops; 0 without packets.
    pub ttl_min: u8,
    /// Largest TTL, in hops.
    pub ttl_max: u8,
}

impl Traffic {
    pub(super) fn of(direction: &Direction, clock: Clock) -> Self {
        let any = direction.packets > 0;
        Self {
            packets: direction.packets,
            frame_bytes: direction.frame_bytes,
            ip_bytes: direction.ip_bytes,
            payload_bytes: direction.payload_bytes,
            payload_packets: direction.payload_packets,
            first_ns: direction.first_ns,
            last_ns: direction.last_ns,
            first_ms: if any { clock.unix_ms(direction.first_ns) } else { 0 },
            last_ms: if any { clock.unix_ms(direction.last_ns) } else { 0 },
            length_min: if any { direction.length_min } else { 0 },
            length_max: direction.length_max,
            length_squares: direction.length_squares,
            iat_min_us: sampled(direction.iat_min_us),
            iat_max_us: direction.iat_max_us,
            iat_squares: direction.iat_squares,
            parts: direction.parts,
            flags: direction.flags,
            ttl_min: if any { direction.ttl_min } else { 0 },
            ttl_max: direction.ttl_max,
        }
    }

    pub(super) fn of_both(stats: &FlowStats, clock: Clock) -> Self {
        let [a, b] = &stats.directions;
        Self {
            packets: stats.packets(),
            frame_bytes: stats.frame_bytes(),
            ip_bytes: a.ip_bytes + b.ip_bytes,
            payload_bytes: a.payload_bytes + b.payload_bytes,
            payload_packets: a.payload_packets + b.payload_packets,
            first_ns: stats.first_ns(),
            last_ns: stats.last_ns,
            first_ms: clock.unix_ms(stats.first_ns()),
            last_ms: clock.unix_ms(stats.last_ns),
            // A direction without packets has the largest number as its minimum.
            length_min: a.length_min.min(b.length_min),
            length_max: a.length_max.max(b.length_max),
            length_squares: a.length_squares.saturating_add(b.length_squares),
            iat_min_us: sampled(stats.iat_min_us),
            iat_max_us: stats.iat_max_us,
            iat_squares: stats.iat_squares,
            parts: stats.parts,
            flags: std::array::from_fn(|n| a.flags[n] + b.flags[n]),
            ttl_min: a.ttl_min.min(b.ttl_min),
            ttl_max: a.ttl_max.max(b.ttl_max),
        }
    }

    /// Number of packets with a flag.
    #[must_use]
    pub const fn flagged(&self, flag: TcpFlag) -> u64 {
        self.flags[flag as usize]
    }

    /// Ratio of packets with a flag to all packets; 0 without packets.
    #[must_use]
    pub fn flag_share(&self, flag: TcpFlag) -> f64 {
        if self.packets == 0 { 0.0 } else { self.flagged(flag) as f64 / self.packets as f64 }
    }

    /// Ratio of payload to IP bytes; 0 without packets.
    #[must_use]
    pub fn payload_share(&self) -> f64 {
        if self.ip_bytes == 0 { 0.0 } else { self.payload_bytes as f64 / self.ip_bytes as f64 }
    }

    /// Time from the first packet to the last, in ms.
    #[must_use]
    pub fn duration_ms(&self) -> f64 {
        (self.last_ns - self.first_ns) as f64 / 1e6
    }

    /// Mean IP total length, in bytes; 0 without packets.
    #[must_use]
    pub fn length_mean(&self) -> f64 {
        if self.packets == 0 { 0.0 } else { self.ip_bytes as f64 / self.packets as f64 }
    }

    /// Sample standard deviation of the IP total length, in bytes; 0 below two packets.
    #[must_use]
    pub fn length_stddev(&self) -> f64 {
        sample_stddev(self.packets, self.ip_bytes, self.length_squares.into())
    }

    /// Sum of the inter-arrival times, in µs. Each is a difference of whole µs, so they add up to the time from the
    /// first packet to the last.
    const fn iat_sum_us(&self) -> u64 {
        to_micros(self.last_ns) - to_micros(self.first_ns)
    }

    /// Whether every inter-arrival time was known when it was counted. If CPUs counted at the same time, those between
    /// their packets were not.
    const fn knows_gaps(&self) -> bool {
        self.parts <= 1
    }

    /// Mean inter-arrival time, in ms; 0 below two packets. It depends only on the first and the last time, so it is
    /// exact whichever CPUs counted.
    #[must_use]
    pub fn iat_mean_ms(&self) -> f64 {
        if self.packets < 2 { 0.0 } else { self.iat_sum_us() as f64 / (self.packets - 1) as f64 / 1e3 }
    }

    /// Smallest inter-arrival time, in ms; 0 below two packets, NaN if CPUs counted at the same time.
    #[must_use]
    pub fn iat_min_ms(&self) -> f64 {
        if self.knows_gaps() { self.iat_min_us as f64 / 1e3 } else { f64::NAN }
    }

    /// Largest inter-arrival time, in ms; 0 below two packets, NaN if CPUs counted at the same time.
    #[must_use]
    pub fn iat_max_ms(&self) -> f64 {
        if self.knows_gaps() { self.iat_max_us as f64 / 1e3 } else { f64::NAN }
    }

    /// Sample standard deviation of the inter-arrival time, in ms; 0 below two samples, NaN if CPUs counted at the same
    /// time.
    #[must_use]
    pub fn iat_stddev_ms(&self) -> f64 {
        if !self.knows_gaps() {
            return f64::NAN;
        }
        sample_stddev(self.packets.saturating_sub(1), self.iat_sum_us(), self.iat_squares) / 1e3
    }
}

/// A minimum, or 0 without a sample.
const fn sampled(minimum_us: u64) -> u64 {
    if minimum_us == NO_SAMPLE { 0 } else { minimum_us }
}

/// √((n·Σx² − (Σx)²) / (n·(n − 1))). In whole numbers up to the division, because the difference of two large sums is
/// small.
///
/// Σx² of lengths saturates and may then be too small. The result is never below 0.
fn sample_stddev(samples: u64, sum: u64, squares: u128) -> f64 {
    if samples < 2 {
        return 0.0;
    }
    let (n, sum) = (u128::from(samples), u128::from(sum));
    let spread = n.saturating_mul(squares).saturating_sub(sum.saturating_mul(sum));
    (real(spread) / real(n * (n - 1))).sqrt()
}

/// The nearest floating-point number. Most numbers fit in 64 bits. Their conversion is one instruction, that of 128 bits
/// a function call.
fn real(number: u128) -> f64 {
    u64::try_from(number).map_or(number as f64, |number| number as f64)
}
