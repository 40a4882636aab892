//! The bytes of a frame behind its headers, as each kind of program can read them.

use core::ffi::c_void;
use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use flowml_common::content::{FrameBytes, Piece};

/// An XDP frame in one or several buffers (Linux 5.18).
pub struct Buffers<'a>(pub &'a XdpContext);

/// An XDP frame in one buffer, read without the means of later kernels.
pub struct Linear<'a>(pub &'a XdpContext);

/// A frame at tc, linear or not.
pub struct Socket<'a>(pub &'a TcContext);

/// The number of bytes with the bounds that the verifier wants to see; the compiler, which knows them, would drop the
/// comparisons.
#[inline(always)]
fn bounded(count: u32) -> Option<u32> {
    let count = black_box(count);
    if count == 0 || count > Piece::BYTES { None } else { Some(count) }
}

/// Where a helper writes to.
#[inline(always)]
const fn place(piece: &mut Piece) -> *mut c_void {
    core::ptr::from_mut(piece).cast()
}

impl FrameBytes for Buffers<'_> {
    #[inline(always)]
    fn there(&self) -> u32 {
        // SAFETY: the context is this program's.
        unsafe { bpf_xdp_get_buff_len(self.0.ctx) as u32 }
    }

    #[inline(always)]
    fn copy(&self, offset: u32, count: u32, piece: &mut Piece) -> bool {
        let Some(count) = bounded(count) else { return false };
        // SAFETY: the context is this program's, and a piece has room for so many bytes.
        unsafe { bpf_xdp_load_bytes(self.0.ctx, offset, place(piece), count) == 0 }
    }
}

impl FrameBytes for Socket<'_> {
    #[inline(always)]
    fn there(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn copy(&self, offset: u32, count: u32, piece: &mut Piece) -> bool {
        let Some(count) = bounded(count) else { return false };
        // SAFETY: as above.
        unsafe { bpf_skb_load_bytes(self.0.skb.skb.cast(), offset, place(piece), count) == 0 }
    }
}

impl FrameBytes for Linear<'_> {
    #[inline(always)]
    fn there(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }

    #[inline(always)]
    fn copy(&self, offset: u32, count: u32, piece: &mut Piece) -> bool {
        let Some(count) = bounded(count) else { return false };
        // Within the frame (`FrameBytes::copy`), which the verifier would have us show for each byte anew. It wants a bound
        // all the same: no headers are longer.
        let from = self.0.data() + (black_box(offset) & 0xffff) as usize;
        // SAFETY: a piece has room for so many bytes; the helper fails where it may not read.
        unsafe { bpf_probe_read_kernel(place(piece), count, from as *const c_void) == 0 }
    }
}
