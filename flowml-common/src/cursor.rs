//! Access to the header bytes of a frame: packet memory in the kernel, a slice in userspace.

use bytemuck::Pod;

/// The longest part of a header that is skipped, in bytes: an IPv6 extension header of 256 × 8 bytes, without its first
/// two bytes.
///
/// The kernel's verifier requires a bound: it does not accept a packet pointer that may have moved by more than 65,535
/// bytes.
pub const MAX_SKIP: u16 = 256 * 8 - 2;

/// A position in a frame that only moves forward.
///
/// A read beyond the end of the captured bytes returns `None`, and the frame is then [`Truncated`].
///
/// [`Truncated`]: crate::packet::Skipped::Truncated
pub trait Cursor {
    /// Reads a `T` and moves on to the byte after it. `T` need not be aligned.
    fn take<T: Pod>(&mut self) -> Option<T>;

    /// Moves on by `count` bytes, at most [`MAX_SKIP`].
    fn skip(&mut self, count: u16) -> Option<()>;

    /// Returns `number`. In the kernel it also hides the bounds of the number from the verifier. Otherwise older
    /// verifiers follow the code after this call once for each range that the number can have.
    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        number
    }
}

/// The cursor in userspace is a slice of the remaining bytes of the frame.
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
