//! A pipe from which nothing comes: how far time has gone on since the last packet, by the clock on the wall.

use std::time::Duration;

/// Packets may be so long on their way from the interface to us: libpcap hands them over after a second at the latest.
const DELIVERY: Duration = Duration::from_secs(2);

/// Where the last packet is not complete, its rest is in the buffer of a program that writes 4 KiB at a time (tcpdump without
/// `-U`), and so may others be: only a silence that is longer than this says that no packets are seen.
const BUFFERING: Duration = Duration::from_secs(30);

/// The silence of a pipe.
#[derive(Clone, Debug, Default)]
pub(super) struct Quiet {
    /// Since bytes came.
    silence_ns: u64,
    /// The longest that a packet is known to have been on its way.
    delay_ns: u64,
}

impl Quiet {
    /// Waited for so long and nothing came, behind whole packets or within one. Says how long surely no packet was seen, ns.
    pub(super) fn wait(&mut self, waited: Duration, between_packets: bool) -> u64 {
        self.silence_ns = self.silence_ns.saturating_add(ns(waited));
        let margin = if between_packets { DELIVERY } else { BUFFERING };
        self.silence_ns.saturating_sub(ns(margin).max(self.delay_ns))
    }

    /// Whether nothing came when bytes were last asked for.
    pub(super) const fn is_silent(&self) -> bool {
        self.silence_ns > 0
    }

    /// A packet came, which was seen so long after the one before, ns. If that is less than the silence, it was on its way
    /// for the rest, and others may be again.
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
    fn a_silence_counts_but_for_what_packets_may_be_on_their_way() {
        let mut quiet = Quiet::default();
        assert_eq!([1, 1, 1, 1].map(|seconds| wait(&mut quiet, seconds, true)), [0, 0, 1, 2]);
        assert!(quiet.is_silent());
        quiet.end(4 * SECOND);
        assert!(!quiet.is_silent());
        assert_eq!([20, 20].map(|seconds| wait(&mut quiet, seconds, false)), [0, 10], "the writer buffers");
    }

    #[test]
    fn a_writer_that_held_packets_back_may_do_so_again() {
        let mut quiet = Quiet::default();
        assert_eq!(wait(&mut quiet, 60, true), 58);
        quiet.end(20 * SECOND);
        assert_eq!(wait(&mut quiet, 60, true), 20, "the packet was 40 s on its way");
        quiet.end(100 * SECOND);
        assert_eq!(wait(&mut quiet, 60, true), 20);
    }
}
