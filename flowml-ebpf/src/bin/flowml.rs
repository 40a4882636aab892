//! The programs that the agent attaches. Each counts the packet and lets it pass.
#![no_std]
#![no_main]
#![expect(missing_docs, unreachable_pub, reason = "the program macros make public functions that nobody imports")]

use aya_ebpf::bindings::{TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use flowml_common::packet::Hook;
use flowml_ebpf::frame::{buffers_length, meter, meter_inside, meter_tc, meter_tc_inside, of_tc, of_tc_inside, of_xdp};
use flowml_ebpf::payload::{Buffers, Linear};

/// XDP for frames in one or several buffers (needs Linux 5.18).
#[xdp(frags)]
pub fn flowml_xdp_frags(ctx: XdpContext) -> u32 {
    let seen = of_xdp(&ctx, buffers_length(&ctx));
    meter(&seen, &Buffers(&ctx));
    xdp_action::XDP_PASS
}

/// XDP for frames in one buffer, for kernels before 5.18.
#[xdp]
pub fn flowml_xdp(ctx: XdpContext) -> u32 {
    let seen = of_xdp(&ctx, (ctx.data_end() - ctx.data()) as u32);
    meter(&seen, &Linear(&ctx));
    xdp_action::XDP_PASS
}

/// tc, received frames.
#[classifier]
pub fn flowml_ingress(ctx: TcContext) -> i32 {
    let seen = of_tc(&ctx, Hook::Ingress);
    meter_tc(&ctx, &seen);
    // Continues with the next program, as if this one did not exist (`TCX_NEXT` is the same number).
    TC_ACT_UNSPEC
}

/// tc, sent frames.
#[classifier]
pub fn flowml_egress(ctx: TcContext) -> i32 {
    let seen = of_tc(&ctx, Hook::Egress);
    meter_tc(&ctx, &seen);
    TC_ACT_UNSPEC
}

/// As `flowml_xdp_frags`, and looks into tunnels.
#[xdp(frags)]
pub fn flowml_xdp_frags_inner(ctx: XdpContext) -> u32 {
    let seen = of_xdp(&ctx, buffers_length(&ctx));
    meter_inside(&ctx, &seen, &Buffers(&ctx));
    xdp_action::XDP_PASS
}

/// As `flowml_xdp`, and looks into tunnels.
#[xdp]
pub fn flowml_xdp_inner(ctx: XdpContext) -> u32 {
    let seen = of_xdp(&ctx, (ctx.data_end() - ctx.data()) as u32);
    meter_inside(&ctx, &seen, &Linear(&ctx));
    xdp_action::XDP_PASS
}

/// As `flowml_ingress`, and looks into tunnels.
#[classifier]
pub fn flowml_ingress_inner(ctx: TcContext) -> i32 {
    let seen = of_tc_inside(&ctx, Hook::Ingress);
    meter_tc_inside(&ctx, &seen);
    TC_ACT_UNSPEC
}

/// As `flowml_egress`, and looks into tunnels.
#[classifier]
pub fn flowml_egress_inner(ctx: TcContext) -> i32 {
    let seen = of_tc_inside(&ctx, Hook::Egress);
    meter_tc_inside(&ctx, &seen);
    TC_ACT_UNSPEC
}
