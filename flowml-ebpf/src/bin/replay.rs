//! The program that the parity tests run on the frames of captures: the meter, told what it cannot see in a test run.
#![no_std]
#![no_main]
#![expect(missing_docs, unreachable_pub, reason = "the program macros make public functions that nobody imports")]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use flowml_common::packet::{Frame, Hook};
use flowml_ebpf::frame::{Seen, buffers_length, meter, of_xdp};
use flowml_ebpf::payload::Buffers;

/// What the capture says of the frame, in front of it as XDP metadata.
#[derive(Clone, Copy)]
#[repr(C)]
struct Told {
    time_ns: u64,
    /// The original length: the frame itself may be snapped.
    length: u32,
    interface: u32,
}

#[inline(always)]
fn told(ctx: &XdpContext) -> Option<Told> {
    let (metadata, data) = (ctx.metadata(), ctx.data());
    if metadata + size_of::<Told>() > data {
        return None;
    }
    // SAFETY: it lies before the frame, in packet memory; any bytes are a `Told`.
    Some(unsafe { (metadata as *const Told).read_unaligned() })
}

/// XDP for frames in one or several buffers, with time, length and interface of the capture.
#[xdp(frags)]
pub fn replay(ctx: XdpContext) -> u32 {
    let Some(Told { time_ns, length, interface }) = told(&ctx) else { return xdp_action::XDP_ABORTED };
    // Whether all of it is linear is a question of what is there.
    let seen = of_xdp(&ctx, buffers_length(&ctx));
    let seen = Seen { frame: Frame { time_ns, length, interface, hook: Hook::File, ..seen.frame }, ..seen };
    meter(&seen, &Buffers(&ctx));
    xdp_action::XDP_PASS
}
