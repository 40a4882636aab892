//! A condition that is reported once when it begins and once when it ends.

/// The condition ends when it has not occurred for this time, ns.
const CLOSE_AFTER_NS: u64 = 10_000_000_000;

/// The state of a condition.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// Time of the last occurrence, ns of a monotonic clock.
    last_ns: Option<u64>,
    count: u64,
}

impl Lasting {
    /// Counts `count` occurrences at `now_ns`. Returns whether the condition begins with them.
    pub(super) const fn comes(&mut self, count: u64, now_ns: u64) -> bool {
        self.count += count;
        self.last_ns.replace(now_ns).is_none()
    }

    /// If the condition has ended by `now_ns`, returns the total number of occurrences, once.
    pub(super) fn is_over(&mut self, now_ns: u64) -> Option<u64> {
        self.last_ns.take_if(|last_ns| now_ns.saturating_sub(*last_ns) >= CLOSE_AFTER_NS)?;
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_reported_once_at_its_start_and_once_at_its_end() {
        let mut lasting = Lasting::default();
        assert_eq!(lasting.is_over(u64::MAX), None, "it has not begun");
        assert!(lasting.comes(5, 0));
        for half_second in 1..100 {
            assert!(!lasting.comes(1, half_second * CLOSE_AFTER_NS / 20));
            assert_eq!(lasting.is_over((half_second + 1) * CLOSE_AFTER_NS / 20), None);
        }
        let last_ns = 99 * CLOSE_AFTER_NS / 20;
        assert_eq!(lasting.is_over(last_ns + CLOSE_AFTER_NS - 1), None);
        assert_eq!(lasting.is_over(last_ns + CLOSE_AFTER_NS), Some(104));
        assert_eq!(lasting.is_over(u64::MAX), None, "it is over already");
        assert!(lasting.comes(1, last_ns + CLOSE_AFTER_NS), "it begins again");
    }
}
