//! Silence on a pipe: how far time has advanced since the last packet, by the wall clock.

use std::time::Duration;

/// Assumed maximum time of a packet from the interface to the agent. libpcap delivers packets after at most a second.
const DELIVERY: Duration = Duration::from_secs(2);

/// The same for a writer that buffers 4 KiB at a time (tcpdump without `-U`). An incomplete packet shows that its rest,
/// and perhaps other packets, are in that buffer. Only a longer silence means that there are no packets.
const BUFFERING: Duration = Duration::from_secs(30);

/// The silence of a pipe.
#[derive(Clone, Debug, Default)]
pub(super) struct Quiet {
    /// Time since the last bytes, ns.
    silence_ns: u64,
    /// The longest known delay of a packet, ns.
    delay_ns: u64,
}

impl Quiet {
    /// Adds `waited`, during which no bytes arrived, after a complete packet or within one. Returns for how long
    /// certainly no packet was seen, ns.
    pub(super) fn wait(&mut self, waited: Duration, between_packets: bool) -> u64 {
        self.silence_ns = self.silence_ns.saturating_add(ns(waited));
        let margin = if between_packets { DELIVERY } else { BUFFERING };
        self.silence_ns.saturating_sub(ns(margin).max(self.delay_ns))
    }

    /// Whether the last attempt to read returned no bytes.
    pub(super) const fn is_silent(&self) -> bool {
        self.silence_ns > 0
    }

    /// Ends the silence with a packet that was seen `gap_ns` after the previous one. If that is less than the silence,
    /// the packet was delayed by the difference, and later ones may be, too.
    pub(super) fn end(&mut self, gap_ns: u64) {
        self.delay_ns = self.delay_ns.max(self.silence_ns.saturating_sub(gap_ns));
        self.silence_ns = 0;
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn wait(quiet: &mut Quiet, seconds: u64, between_packets: bool) -> u64 {
        quiet.wait(Duration::from_secs(seconds), between_packets) / SECOND
    }

    #[test]
    fn a_silence_counts_minus_the_possible_delay_of_packets() {
        let mut quiet = Quiet::default();
        assert_eq!([1, 1, 1, 1].map(|seconds| wait(&mut quiet, seconds, true)), [0, 0, 1, 2]);
        assert!(quiet.is_silent());
        quiet.end(4 * SECOND);
        assert!(!quiet.is_silent());
        assert_eq!([20, 20].map(|seconds| wait(&mut quiet, seconds, false)), [0, 10], "the writer buffers");
    }

    #[test]
    fn a_writer_that_delayed_packets_may_do_so_again() {
        let mut quiet = Quiet::default();
        assert_eq!(wait(&mut quiet, 60, true), 58);
        quiet.end(20 * SECOND);
        assert_eq!(wait(&mut quiet, 60, true), 20, "the packet was 40 s on its way");
        quiet.end(100 * SECOND);
        assert_eq!(wait(&mut quiet, 60, true), 20);
    }
}
