//! Packet memory as a [`Cursor`].

use core::arch::asm;
use core::hint::black_box;

use bytemuck::Pod;
use flowml_common::cursor::{Cursor, MAX_SKIP};

/// The bytes of a frame between two packet pointers of a program's context.
///
/// The verifier tracks both pointers: it allows a read after a comparison with `end`. A slice over the same memory
/// would have a length instead of an end, and the verifier would reject it.
#[derive(Clone, Copy)]
pub struct PacketCursor {
    at: usize,
    end: usize,
}

impl PacketCursor {
    /// A cursor over `data..data_end` of a context.
    ///
    /// # Safety
    /// Both must come from the same `xdp_md` or `__sk_buff`. No helper that moves packet memory may run while the
    /// cursor is in use.
    #[inline(always)]
    pub const unsafe fn new(data: usize, data_end: usize) -> Self {
        Self { at: data, end: data_end }
    }
}

impl Cursor for PacketCursor {
    #[inline(always)]
    fn take<T: Pod>(&mut self) -> Option<T> {
        let next = self.at + size_of::<T>();
        if next > self.end {
            return None;
        }
        // SAFETY: `at..next` is before `end`, and so in packet memory (`new`); any bytes are a `T`.
        let value = unsafe { (self.at as *const T).read_unaligned() };
        self.at = next;
        Some(value)
    }

    #[inline(always)]
    fn skip(&mut self, count: u16) -> Option<()> {
        // The compiler can prove the bound and would remove the comparison. The verifier cannot prove it and needs the
        // comparison.
        let count = usize::from(black_box(count));
        let next = self.at + count;
        if count > usize::from(MAX_SKIP) || next > self.end {
            return None;
        }
        self.at = next;
        Some(())
    }

    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        let mut number = u64::from(number);
        // SAFETY: two negations of a register. The verifier tracks no bounds of a negated number (`check_alu_op`).
        unsafe { asm!("{number} = -{number}", "{number} = -{number}", number = inout(reg) number) };
        number as u32
    }
}
