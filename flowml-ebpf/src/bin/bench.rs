//! The programs that `cargo xtask bench` measures: the meter, parts of the meter, and the meter with the kernel's own map;
//! and the program that sends frames to a meter.
//!
//! All except `empty` and `as_is` write the addresses of the next flow into the frame before they read it, at the same cost. The
//! difference between two programs is therefore the cost of what only one of them does.
#![no_std]
#![no_main]
#![expect(missing_docs, unreachable_pub, reason = "the program macros make public functions that nobody imports")]

use core::hint::black_box;

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_action};
use aya_ebpf::btf_maps::{Array, LruHashMap, PerCpuHashMap};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use flowml_common::counts::FlowValue;
use flowml_common::flow::FlowKey;
use flowml_common::packet::Packet;
use flowml_common::parse::parse;
use flowml_ebpf::frame::{LinearFrame, buffers_length, meter, of_xdp};
use flowml_ebpf::payload::Buffers;

/// The order of the flows: `at ← (at × multiplier + increment) & mask`. The benchmarks run on one CPU at a time.
#[repr(C)]
struct Walk {
    at: u32,
    multiplier: u32,
    increment: u32,
    mask: u32,
}

#[btf_map]
static WALK: Array<Walk, 1> = Array::new();

/// The index of the interface from which `send` sends.
#[btf_map]
static SENDER: Array<u32, 1> = Array::new();

/// The map that the flow table is compared with, preallocated. The benchmark sets its size.
#[btf_map]
static PERCPU_HASH: PerCpuHashMap<FlowKey, FlowValue, 1> = PerCpuHashMap::new();

/// Another map for comparison, which evicts the entries that were not used for the longest time.
#[btf_map]
static LRU_HASH: LruHashMap<FlowKey, FlowValue, 1> = LruHashMap::new();

/// The memory in which the statistics of a new flow are made before they are inserted. The stack has no room for them.
#[btf_map]
static NEW_FLOW: Array<FlowValue, 1> = Array::new();

/// The memory in which a packet is stored between the parser and the counting, as in the meter.
#[btf_map]
static SPILLED: Array<[u64; 16], 1> = Array::new();

const _: () = assert!(size_of::<Packet>() <= size_of::<[u64; 16]>());

/// Source address and source port of an IPv4 packet without options behind an untagged Ethernet header.
const SOURCE_ADDRESS: usize = 14 + 12;
const SOURCE_PORT: usize = 14 + 20;

/// Rewrites the frame to belong to the next flow: flow `n` comes from address 10.(n >> 8) and port n & 255.
#[inline(always)]
fn next_flow(ctx: &XdpContext) -> Option<()> {
    // SAFETY: only one CPU runs this at a time (`Walk`).
    let walk = unsafe { WALK.get_ptr_mut(black_box(0))?.as_mut()? };
    walk.at = walk.at.wrapping_mul(walk.multiplier).wrapping_add(walk.increment) & walk.mask;
    let address = 10 << 24 | walk.at >> 8;
    let port = walk.at as u8;
    let start = ctx.data();
    if start + SOURCE_PORT + 2 > ctx.data_end() {
        return None;
    }
    // SAFETY: both are before the end of the frame.
    unsafe {
        ((start + SOURCE_ADDRESS) as *mut u32).write_unaligned(address.to_be());
        ((start + SOURCE_PORT + 1) as *mut u8).write(port);
    }
    Some(())
}

#[inline(always)]
fn next_frame(ctx: &XdpContext) -> Option<LinearFrame> {
    next_flow(ctx)?;
    Some(of_xdp(ctx, buffers_length(ctx)))
}

#[inline(always)]
fn next_packet(ctx: &XdpContext) -> Option<&'static Packet> {
    let seen = next_frame(ctx)?;
    let packet = parse(&seen.frame, seen.cursor).ok()?;
    let place = SPILLED.get_ptr_mut(black_box(0))?.cast::<Packet>();
    // SAFETY: only one CPU runs this at a time (`Walk`), and the place is large enough. As `maps::Place`, but without a
    // partition.
    unsafe {
        place.write(packet);
        black_box(place).as_ref()
    }
}

/// Does nothing: measures the cost of running a program.
#[xdp(frags)]
pub fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Sends the frame of the next flow from an interface. Run with live frames (`BPF_F_TEST_XDP_LIVE_FRAMES`), it is the
/// fastest sender to the other end of a veth.
#[xdp]
pub fn send(ctx: XdpContext) -> u32 {
    match (next_flow(&ctx), SENDER.get(0)) {
        // SAFETY: a helper call without pointers.
        (Some(()), Some(&interface)) => unsafe { bpf_redirect(interface, 0) as u32 },
        _ => xdp_action::XDP_ABORTED,
    }
}

/// The meter without the flow table.
#[xdp(frags)]
pub fn parse_only(ctx: XdpContext) -> u32 {
    if next_packet(&ctx).is_some() { xdp_action::XDP_PASS } else { xdp_action::XDP_ABORTED }
}

/// The meter.
#[xdp(frags)]
pub fn table(ctx: XdpContext) -> u32 {
    let Some(seen) = next_frame(&ctx) else { return xdp_action::XDP_ABORTED };
    meter(&seen, &Buffers(&ctx));
    xdp_action::XDP_PASS
}

/// The meter, for the frame as it is.
#[xdp(frags)]
pub fn as_is(ctx: XdpContext) -> u32 {
    meter(&of_xdp(&ctx, buffers_length(&ctx)), &Buffers(&ctx));
    xdp_action::XDP_PASS
}

/// The meter with the kernel's map in place of the flow table.
#[xdp(frags)]
pub fn percpu_hash(ctx: XdpContext) -> u32 {
    let insert = |key: &FlowKey, value: &FlowValue| PERCPU_HASH.insert(key, value, u64::from(BPF_NOEXIST)).is_ok();
    counted(&ctx, |key| PERCPU_HASH.get_ptr_mut(key), insert)
}

/// The meter with the kernel's LRU map in place of the flow table.
#[xdp(frags)]
pub fn lru_hash(ctx: XdpContext) -> u32 {
    let insert = |key: &FlowKey, value: &FlowValue| LRU_HASH.insert(key, value, u64::from(BPF_NOEXIST)).is_ok();
    counted(&ctx, |key| LRU_HASH.get_ptr_mut(key), insert)
}

/// Counts the packet in a map of the kernel.
#[inline(always)]
fn counted(
    ctx: &XdpContext,
    find: impl Fn(&FlowKey) -> Option<*mut FlowValue>,
    insert: impl Fn(&FlowKey, &FlowValue) -> bool,
) -> u32 {
    let count = |packet: &'static Packet| {
        if let Some(value) = find(&packet.key) {
            // SAFETY: the value is valid until the program ends. Only one CPU runs this at a time (`Walk`).
            unsafe { value.as_mut()? }.add(packet);
            return Some(true);
        }
        // SAFETY: only one CPU runs this at a time (`Walk`).
        let value = unsafe { NEW_FLOW.get_ptr_mut(black_box(0))?.as_mut()? };
        value.start(packet);
        Some(insert(&packet.key, value))
    };
    match next_packet(ctx).and_then(count) {
        Some(true) => xdp_action::XDP_PASS,
        Some(false) | None => xdp_action::XDP_ABORTED,
    }
}
