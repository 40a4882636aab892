//! A condition that is reported when it begins and when it is over, however often it comes meanwhile.

/// It is over when it has not come for so long, ns.
const QUIET_NS: u64 = 10_000_000_000;

/// Whether the condition lasts.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// When it came last, ns of a clock that does not go back.
    last_ns: Option<u64>,
    count: u64,
}

impl Lasting {
    /// Takes note that it has come at `now_ns`, `count` times at once. Answers whether it begins with that.
    pub(super) const fn comes(&mut self, count: u64, now_ns: u64) -> bool {
        self.count += count;
        self.last_ns.replace(now_ns).is_none()
    }

    /// How often it came in all, where it is over by `now_ns` and was not before.
    pub(super) fn is_over(&mut self, now_ns: u64) -> Option<u64> {
        self.last_ns.take_if(|last_ns| now_ns.saturating_sub(*last_ns) >= QUIET_NS)?;
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_reported_once_at_its_begin_and_once_at_its_end() {
        let mut lasting = Lasting::default();
        assert_eq!(lasting.is_over(u64::MAX), None, "it has not begun");
        assert!(lasting.comes(5, 0));
        for half_second in 1..100 {
            assert!(!lasting.comes(1, half_second * QUIET_NS / 20));
            assert_eq!(lasting.is_over((half_second + 1) * QUIET_NS / 20), None);
        }
        let last_ns = 99 * QUIET_NS / 20;
        assert_eq!(lasting.is_over(last_ns + QUIET_NS - 1), None);
        assert_eq!(lasting.is_over(last_ns + QUIET_NS), Some(104));
        assert_eq!(lasting.is_over(u64::MAX), None, "it is over already");
        assert!(lasting.comes(1, last_ns + QUIET_NS), "it begins again");
    }
}
