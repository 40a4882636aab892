//! Where header bytes come from: packet memory in the kernel, a slice in userspace.

use bytemuck::Pod;

/// The longest part of a header that is skipped: an IPv6 extension header of 256 × 8 bytes behind its first two.
///
/// The kernel's verifier wants a bound: a packet pointer that may have moved by more than 65,535 bytes is of no use.
pub const MAX_SKIP: u16 = 256 * 8 - 2;

/// A position in a frame that only moves forward.
///
/// A read that would pass the end of what is there answers `None` and the frame is then [`Truncated`].
///
/// [`Truncated`]: crate::packet::Skipped::Truncated
pub trait Cursor {
    /// Reads a `T` and moves behind it. `T` has alignment 1 or is read as if it had.
    fn take<T: Pod>(&mut self) -> Option<T>;

    /// Moves `count` bytes on, at most [`MAX_SKIP`].
    fn skip(&mut self, count: u16) -> Option<()>;

    /// Returns `number`. In the kernel the verifier knows no bounds of the result. Otherwise older verifiers follow the code
    /// behind this call once for each range that the number can have.
    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        number
    }
}

/// The userspace cursor is the rest of the frame itself.
impl Cursor for &[u8] {
    #[inline(always)]
    fn take<T: Pod>(&mut self) -> Option<T> {
        let (head, rest) = self.split_at_checked(size_of::<T>())?;
        *self = rest;
        bytemuck::try_pod_read_unaligned(head).ok()
    }

    #[inline(always)]
    fn skip(&mut self, count: u16) -> Option<()> {
        *self = self.get(usize::from(count)..)?;
        Some(())
    }
}
