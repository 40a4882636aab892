//! Prefetching: loads of memory that is needed soon, without waiting for them.
//!
//! Tables of millions of flows do not fit into a cache. The next flows are known before they are processed, so their
//! memory can be loaded meanwhile.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Starts to load all cache lines of `value`. A prefetch is a hint and does not change the result of the program. On
/// architectures without an implementation here, the function is empty.
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let first = std::ptr::from_ref(value).cast::<i8>();
        for offset in (0..size_of::<T>()).step_by(LINE) {
            // SAFETY: a prefetch reads nothing that the program sees, and never faults (Intel SDM, PREFETCHh). The
            // address is inside of `value`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, LINE);
}
