//! The program that the parity tests run on the frames of captures: the meter, with time, length and interface from the capture.
#![no_std]
#![no_main]
#![expect(missing_docs, unreachable_pub, reason = "the program macros make public functions that nobody imports")]

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use flowml_common::packet::{Frame, Hook};
use flowml_ebpf::frame::{LinearFrame, buffers_length, meter, meter_inside, of_xdp};
use flowml_ebpf::payload::Buffers;

/// The properties of the frame in the capture, which the test puts before the frame as XDP metadata.
#[derive(Clone, Copy)]
#[repr(C)]
struct Captured {
    time_ns: u64,
    /// The original length, in bytes. The frame itself may be snapped.
    length: u32,
    interface: u32,
}

#[inline(always)]
fn captured(ctx: &XdpContext) -> Option<Captured> {
    let (metadata, data) = (ctx.metadata(), ctx.data());
    if metadata + size_of::<Captured>() > data {
        return None;
    }
    // SAFETY: the struct is before the frame, in packet memory; any bytes are a valid `Captured`.
    Some(unsafe { (metadata as *const Captured).read_unaligned() })
}

/// The frame with time, length and interface of the capture.
#[inline(always)]
fn seen(ctx: &XdpContext) -> Option<LinearFrame> {
    let Captured { time_ns, length, interface } = captured(ctx)?;
    // Whether the frame is linear depends on the captured bytes.
    let seen = of_xdp(ctx, buffers_length(ctx));
    Some(LinearFrame { frame: Frame { time_ns, length, interface, hook: Hook::File, ..seen.frame }, ..seen })
}

/// The meter for frames in one or several buffers, with time, length and interface of the capture.
#[xdp(frags)]
pub fn replay(ctx: XdpContext) -> u32 {
    let Some(seen) = seen(&ctx) else { return xdp_action::XDP_ABORTED };
    meter(&seen, &Buffers(&ctx));
    xdp_action::XDP_PASS
}

/// The same, looking into tunnels.
#[xdp(frags)]
pub fn replay_inner(ctx: XdpContext) -> u32 {
    let Some(seen) = seen(&ctx) else { return xdp_action::XDP_ABORTED };
    meter_inside(&ctx, &seen, &Buffers(&ctx));
    xdp_action::XDP_PASS
}
