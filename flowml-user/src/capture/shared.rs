//! Array maps of the kernel as memory: `BPF_F_MMAPABLE` arrays, mapped into this process.

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use bytemuck::Pod;

/// The elements of a mapped array. The kernel may write to any of them. Therefore references into the array come only
/// from [`slice`](Self::slice) and [`fill_zero`](Self::fill_zero), whose callers guarantee that nothing else writes.
#[derive(Debug)]
pub struct SharedArray<T> {
    start: NonNull<T>,
    len: usize,
    _elements: PhantomData<T>,
}

// SAFETY: only this value uses the mapping, and a `T: Pod` is not tied to a thread.
unsafe impl<T: Pod> Send for SharedArray<T> {}

impl<T: Pod> SharedArray<T> {
    /// Maps the array of `map`. It must have `len` elements of `T` and the flag `BPF_F_MMAPABLE`. The size of `T` must
    /// be a multiple of 8, because the kernel rounds up to that.
    ///
    /// # Errors
    /// The error of mmap(2).
    pub fn map(map: &impl AsFd, len: usize) -> io::Result<Self> {
        Self::mapped(libc::MAP_SHARED, map.as_fd().as_raw_fd(), len)
    }

    fn mapped(flags: libc::c_int, file: RawFd, len: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8), "the kernel spaces array elements by multiples of 8 bytes") };
        let (bytes, access) = (len * size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping at an address that the kernel chooses; it is checked below and unmapped in `drop`.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, file, 0) };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => {
                Ok(Self { start: start.cast(), len, _elements: PhantomData })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the array has no elements.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements `from..from + count`, in place.
    ///
    /// # Safety
    /// Nothing may write to them while the slice is in use.
    ///
    /// # Panics
    /// If the range is not within the array.
    #[must_use]
    pub unsafe fn slice(&self, from: usize, count: usize) -> &[T] {
        self.check(from, count);
        // SAFETY: within the mapping (checked), any bytes are a `T`, and nothing writes (guaranteed by the caller).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(from), count) }
    }

    /// Sets the elements `from..from + count` to zero.
    ///
    /// # Safety
    /// Nothing else may read or write them during the call.
    ///
    /// # Panics
    /// If the range is not within the array.
    pub unsafe fn fill_zero(&mut self, from: usize, count: usize) {
        self.check(from, count);
        // SAFETY: within the mapping (checked), zeroes are a `T`, and nothing else has access (guaranteed by the
        // caller).
        unsafe { self.start.as_ptr().add(from).write_bytes(0, count) }
    }

    /// The 64-bit number at `offset` bytes in element `n`. The kernel may be writing it.
    ///
    /// # Panics
    /// If there is no aligned 64-bit number at this offset.
    #[must_use]
    pub fn load_u64(&self, n: usize, offset: usize) -> u64 {
        self.word(n, offset).load(Ordering::Relaxed)
    }

    /// Writes a value at `offset` bytes in element `n`.
    ///
    /// # Safety
    /// Nothing else may read or write there during the call.
    ///
    /// # Panics
    /// If the value is not within the element.
    pub unsafe fn write<V: Pod>(&mut self, n: usize, offset: usize, value: &V) {
        self.check(n, 1);
        assert!(offset.checked_add(size_of::<V>()).is_some_and(|end| end <= size_of::<T>()), "within an element");
        // SAFETY: within the mapping (checked), any bytes are a `T`, and nothing else has access (guaranteed by the
        // caller).
        unsafe { self.start.as_ptr().add(n).cast::<u8>().add(offset).cast::<V>().write_unaligned(*value) }
    }

    /// Writes the 64-bit number at `offset` bytes in element `n`. The write is atomic. It comes after all earlier
    /// writes and before all later ones, even if this process is killed in between.
    ///
    /// # Panics
    /// If there is no aligned 64-bit number at this offset.
    pub fn store_u64(&mut self, n: usize, offset: usize, number: u64) {
        self.word(n, offset).store(number, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    fn word(&self, n: usize, offset: usize) -> &AtomicU64 {
        self.check(n, 1);
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<T>(), "expected an aligned u64 within an element");
        // SAFETY: within the mapping and aligned (checked: pages and element sizes are multiples of 8); the kernel
        // writes aligned words atomically, so an atomic load returns one of the written values.
        unsafe { &*self.start.as_ptr().add(n).cast::<u8>().add(offset).cast::<AtomicU64>() }
    }

    fn check(&self, from: usize, count: usize) {
        assert!(
            from.checked_add(count).is_some_and(|end| end <= self.len),
            "elements {from}..+{count} of an array of {}",
            self.len
        );
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping from `map`, with the same length; no slice outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), self.len * size_of::<T>()) };
    }
}

/// `cargo xtask miri` runs these tests, too. They use anonymous memory, because Miri maps no files.
#[cfg(test)]
mod tests {
    use std::thread;

    use super::SharedArray;

    fn array(len: usize) -> SharedArray<[u64; 3]> {
        SharedArray::mapped(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, len).expect("anonymous memory is mapped")
    }

    #[test]
    fn written_elements_are_read_and_cleared() {
        let mut array = array(4);
        // SAFETY: nothing else uses this memory.
        unsafe { array.write(2, 8, &[5_u64, 6]) };
        array.store_u64(1, 16, 7);
        assert_eq!((array.load_u64(2, 8), array.load_u64(2, 16), array.load_u64(1, 16)), (5, 6, 7));
        // SAFETY: as above.
        assert_eq!(unsafe { array.slice(1, 2) }, [[0, 0, 7], [0, 5, 6]]);
        // SAFETY: as above; the slice is no longer in use.
        unsafe { array.fill_zero(1, 1) };
        // SAFETY: as above.
        assert_eq!(unsafe { array.slice(0, 4) }, [[0; 3], [0; 3], [0, 5, 6], [0; 3]]);
    }

    #[test]
    fn a_value_may_lie_at_any_offset() {
        let mut array = array(1);
        // SAFETY: nothing else uses this memory.
        unsafe { array.write(0, 3, &0x0102_0304_u32) };
        // SAFETY: as above.
        let bytes: &[u8] = bytemuck::cast_slice(unsafe { array.slice(0, 1) });
        assert_eq!(bytes[3..7], 0x0102_0304_u32.to_ne_bytes());
    }

    #[test]
    fn another_thread_reads_and_unmaps() {
        let mut array = array(2);
        array.store_u64(1, 0, 9);
        let read = thread::spawn(move || array.load_u64(1, 0)).join();
        assert_eq!(read.expect("it reads"), 9);
    }

    #[test]
    fn places_outside_of_the_array_are_refused() {
        let array = array(2);
        for (n, offset) in [(2, 0), (0, 24), (0, 4)] {
            let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| array.load_u64(n, offset)));
            assert!(read.is_err(), "element {n}, offset {offset}");
        }
    }
}
