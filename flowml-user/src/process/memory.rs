//! The memory that this process may use, and returning freed memory to the system.

use std::fs;
use std::path::Path;

/// The smaller of the host's memory and the limit of the control group, in bytes. `None` if the system reports neither.
#[must_use]
pub fn available() -> Option<u64> {
    let of_host = fs::read_to_string("/proc/meminfo").ok().and_then(|text| of_host(&text));
    [of_host, of_group()].into_iter().flatten().min()
}

/// `MemTotal` of proc_meminfo(5), converted from KiB to bytes.
fn of_host(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest limit of this process's control group and of those above it, in bytes (cgroup v2).
fn of_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let limit = |folder: &Path| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse::<u64>().ok();
    root.join(path).ancestors().take_while(|folder| folder.starts_with(root)).filter_map(limit).min()
}

/// Up to this number of unused elements stay allocated.
const SPARE: usize = 1024;

/// Whether to keep memory for so many elements, `used` of which were needed last. New memory costs page faults, but a
/// peak must not keep its memory.
pub(crate) const fn is_worth_keeping(capacity: usize, used: usize) -> bool {
    capacity <= SPARE + 4 * used
}

/// Returns freed memory to the system. glibc keeps memory between other allocations, which is most of what a flood
/// used. musl returns memory without this call.
#[cfg_attr(not(target_env = "gnu"), expect(clippy::missing_const_for_fn, reason = "with glibc it cannot be const"))]
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes only the locks of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_host_is_parsed() {
        assert_eq!(of_host("MemTotal:        8014332 kB\nMemFree: 1 kB\n"), Some(8_014_332 * 1024));
        assert_eq!(of_host("MemFree: 1 kB\n"), None);
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
