//! A span of time that can be cut short.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time until an end, or until [`Span::cut`] on any of its clones.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    end: Option<Instant>,
    cut: Arc<(Mutex<bool>, Condvar)>,
}

impl Span {
    /// A span of `length` from now on.
    pub(crate) fn lasting(length: Duration) -> Self {
        Self { end: Some(Instant::now() + length), cut: Arc::default() }
    }

    /// A span from now on that only ends when it is cut.
    pub(crate) fn endless() -> Self {
        Self { end: None, cut: Arc::default() }
    }

    /// Ends the span now, and wakes the threads that sleep in it.
    pub(crate) fn cut(&self) {
        *self.cut.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.cut.1.notify_all();
    }

    /// Whether the span has ended.
    pub(crate) fn is_over(&self) -> bool {
        let cut = *self.cut.0.lock().unwrap_or_else(PoisonError::into_inner);
        cut || self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Sleeps for `length`, or less if the span ends first. Returns whether the span still lasts.
    pub(crate) fn sleep(&self, length: Duration) -> bool {
        let wake = Instant::now() + length;
        let wake = self.end.map_or(wake, |end| wake.min(end));
        let mut cut = self.cut.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*cut && Instant::now() < wake {
            let left = wake.saturating_duration_since(Instant::now());
            cut = self.cut.1.wait_timeout(cut, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(cut);
        !self.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_after_its_length_or_when_cut() {
        assert!(!Span::lasting(Duration::ZERO).sleep(Duration::from_secs(100)));
        let span = Span::endless();
        assert!(span.sleep(Duration::from_millis(1)));
        let other = span.clone();
        std::thread::spawn(move || other.cut());
        assert!(!span.sleep(Duration::from_secs(100)));
        assert!(span.is_over());
    }
}
