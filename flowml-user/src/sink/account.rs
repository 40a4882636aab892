//! What became of the rows of one output: its thread counts them, and the run reads the counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Rows of an output, and whether its thread waits for the system.
#[derive(Debug)]
pub(super) struct Account {
    written: AtomicU64,
    lost: AtomicU64,
    begun: Instant,
    /// Since when the thread waits, ns after `begun`; 0 where it does not.
    waits_since: AtomicU64,
    /// For how long the thread has waited in all, but for a wait that lasts, ns.
    waited: AtomicU64,
    /// There is no time for all rows that wait.
    hurries: AtomicBool,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            begun: Instant::now(),
            waits_since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            hurries: AtomicBool::new(false),
        }
    }

    /// Rows that are where they should be.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Rows that its thread could not write, or not wholly.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    pub(super) fn add_written(&self, rows: u64) {
        self.written.fetch_add(rows, Ordering::AcqRel);
    }

    pub(super) fn add_lost(&self, rows: u64) {
        self.lost.fetch_add(rows, Ordering::AcqRel);
    }

    /// Sets both, where somebody else counts.
    pub(super) fn set(&self, written: u64, lost: u64) {
        self.written.store(written, Ordering::Release);
        self.lost.store(lost, Ordering::Release);
    }

    /// Does what may wait for a reader or for the system, so that others see that it waits.
    pub(super) fn wait_in<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = self.begun.elapsed().as_nanos() as u64;
        self.waits_since.store(now.max(1), Ordering::Release);
        let done = work();
        self.waits_since.store(0, Ordering::Release);
        self.waited.fetch_add(self.begun.elapsed().as_nanos() as u64 - now, Ordering::AcqRel);
        done
    }

    /// From now on there is no time for all rows that wait.
    pub(super) fn hurry(&self) {
        self.hurries.store(true, Ordering::Release);
    }

    pub(super) fn hurries(&self) -> bool {
        self.hurries.load(Ordering::Acquire)
    }

    /// For how long its thread has waited for the system by now, in all.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Acquire)) + self.waits()
    }

    /// For how long its thread has been waiting for the system by now.
    pub(super) fn waits(&self) -> Duration {
        match self.waits_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => self.begun.elapsed().saturating_sub(Duration::from_nanos(since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seen_while_it_lasts() {
        let account = Account::new();
        assert_eq!(account.waits(), Duration::ZERO);
        account.wait_in(|| {
            let seen = account.waits();
            std::thread::sleep(Duration::from_millis(2));
            assert!(account.waits() > seen);
        });
        assert_eq!(account.waits(), Duration::ZERO);
        assert!(account.waited() >= Duration::from_millis(2));
    }
}
