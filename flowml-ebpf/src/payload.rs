//! Access to the bytes of a frame after its headers, for each kind of program.

use core::ffi::c_void;
use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use flowml_common::content::{FrameBytes, PayloadChunk};

/// An XDP frame in one or several buffers (needs Linux 5.18).
pub struct Buffers<'a>(pub &'a XdpContext);

/// An XDP frame in one buffer, read with the helpers of kernels before 5.18.
pub struct Linear<'a>(pub &'a XdpContext);

/// A frame at tc, linear or not.
pub struct Socket<'a>(pub &'a TcContext);

/// `count`, with the bounds that the verifier requires. Without `black_box` the compiler would remove the comparison,
/// as it can prove it. One comparison gives both bounds: before Linux 6.8 the verifier does not conclude from `count !=
/// 0` that `count` is at least 1.
#[inline(always)]
fn bounded(count: u32) -> Option<u32> {
    let but_one = black_box(count.wrapping_sub(1));
    if but_one >= PayloadChunk::BYTES { None } else { Some(but_one + 1) }
}

/// The pointer that a helper writes to.
#[inline(always)]
const fn place(chunk: &mut PayloadChunk) -> *mut c_void {
    core::ptr::from_mut(chunk).cast()
}

impl FrameBytes for Buffers<'_> {
    #[inline(always)]
    fn there(&self) -> u32 {
        // SAFETY: the context is that of this program.
        unsafe { bpf_xdp_get_buff_len(self.0.ctx) as u32 }
    }

    #[inline(always)]
    fn copy(&self, offset: u32, count: u32, chunk: &mut PayloadChunk) -> bool {
        let Some(count) = bounded(count) else { return false };
        // SAFETY: the context is that of this program, and a chunk has room for this number of bytes.
        unsafe { bpf_xdp_load_bytes(self.0.ctx, offset, place(chunk), count) == 0 }
    }
}

impl FrameBytes for Socket<'_> {
    #[inline(always)]
    fn there(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn copy(&self, offset: u32, count: u32, chunk: &mut PayloadChunk) -> bool {
        let Some(count) = bounded(count) else { return false };
        // SAFETY: as above.
        unsafe { bpf_skb_load_bytes(self.0.skb.skb.cast(), offset, place(chunk), count) == 0 }
    }
}

impl FrameBytes for Linear<'_> {
    #[inline(always)]
    fn there(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }

    #[inline(always)]
    fn copy(&self, offset: u32, count: u32, chunk: &mut PayloadChunk) -> bool {
        let Some(count) = bounded(count) else { return false };
        // The offset is within the frame (`FrameBytes::copy`), but the verifier would require a proof for each byte. It
        // also requires a bound, and no headers are longer than this one.
        let from = self.0.data() + (black_box(offset) & 0xffff) as usize;
        // SAFETY: a chunk has room for this number of bytes; the helper fails where it must not read.
        unsafe { bpf_probe_read_kernel(place(chunk), count, from as *const c_void) == 0 }
    }
}
