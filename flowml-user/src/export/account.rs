//! Counts the rows of one output as written or lost: its thread counts, and the run reads the counts.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The rows of an output, and whether its thread waits for the system.
#[derive(Debug)]
pub struct Account {
    written: AtomicU64,
    lost: AtomicU64,
    begun: Instant,
    /// Start of the current wait, ns after `begun`; 0 while the thread does not wait.
    waits_since: AtomicU64,
    /// Total time of the waits that have ended, ns.
    waited: AtomicU64,
    /// Whether the remaining time is too short for all queued rows.
    hurries: AtomicBool,
    /// The time at which the end of the run began.
    ended: OnceLock<Instant>,
}

impl Default for Account {
    /// Nothing is counted yet.
    fn default() -> Self {
        Self {
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            begun: Instant::now(),
            waits_since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            hurries: AtomicBool::new(false),
            ended: OnceLock::new(),
        }
    }
}

impl Account {
    /// Counts that are all zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that were written to their destination.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Rows that the thread could not write, or wrote only in part.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    pub(super) fn add_written(&self, rows: u64) {
        self.written.fetch_add(rows, Ordering::AcqRel);
    }

    pub(super) fn add_lost(&self, rows: u64) {
        self.lost.fetch_add(rows, Ordering::AcqRel);
    }

    /// Sets both counts, for an output that keeps its own.
    pub(super) fn set(&self, written: u64, lost: u64) {
        self.written.store(written, Ordering::Release);
        self.lost.store(lost, Ordering::Release);
    }

    /// Runs `work`, which may block on a reader or on the system. Meanwhile [`Self::waits`] shows the wait.
    pub fn wait_in<T>(&self, work: impl FnOnce() -> T) -> T {
        let now = self.begun.elapsed().as_nanos() as u64;
        self.waits_since.store(now.max(1), Ordering::Release);
        let done = work();
        self.waits_since.store(0, Ordering::Release);
        self.waited.fetch_add(self.begun.elapsed().as_nanos() as u64 - now, Ordering::AcqRel);
        done
    }

    /// From now on the time is too short for all queued rows.
    pub(super) fn hurry(&self) {
        self.hurries.store(true, Ordering::Release);
    }

    pub(super) fn hurries(&self) -> bool {
        self.hurries.load(Ordering::Acquire)
    }

    /// The end of the run begins, unless it has begun. The output no longer waits for a peer that is away.
    pub(super) fn end(&self) {
        self.ended.get_or_init(Instant::now);
    }

    /// The time at which the end of the run began.
    pub(super) fn ended(&self) -> Option<Instant> {
        self.ended.get().copied()
    }

    /// Total time for which the thread has waited for the system, including the current wait.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Acquire)) + self.waits()
    }

    /// Duration of the current wait; zero while the thread does not wait.
    #[must_use]
    pub fn waits(&self) -> Duration {
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
    fn a_wait_is_visible_while_it_lasts() {
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
