//! The frame and its properties as each hook provides them, and metering it.

use core::hint::black_box;

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_skb_pull_data, bpf_xdp_get_buff_len};
use aya_ebpf::programs::{TcContext, XdpContext};
use flowml_common::content::FrameBytes;
use flowml_common::filter::{ETHERNET, untagged_length};
use flowml_common::packet::{Frame, Hook, Segments, Skipped};
use flowml_common::parse::{Levels as _, parse, parse_levels};
use flowml_common::table::{Metered, count_tunnels, filter_out, record, record_inside, skip};

use crate::cursor::PacketCursor;
use crate::maps::{Partition, Place, Ports, Steps, count_stray, cpu, is_filtered_out};
use crate::payload::Socket;

/// Number of header bytes that must be in linear memory at tc before parsing: Ethernet, two tags, IPv6 and TCP with all
/// options.
const LINEAR_HEADERS: u32 = 14 + 2 * 4 + 40 + 60;

/// The same for programs that look into tunnels: the headers of three levels, and a Geneve header with many options.
const LINEAR_LEVELS: u32 = 3 * LINEAR_HEADERS + 256;

/// A frame and its linear part.
pub struct LinearFrame {
    /// The properties of the frame.
    pub frame: Frame,
    /// Access to its linear part.
    pub cursor: PacketCursor,
    /// Whether the linear part contains the complete frame.
    pub linear: bool,
}

/// Whether the linear part has at least `length` bytes. In 64 bits, because with 32 bits the compiler would keep halves
/// of the pointers, which the verifier does not allow.
#[inline(always)]
const fn is_linear(data: usize, data_end: usize, length: u32) -> bool {
    data_end - data >= length as usize
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: the helper takes no arguments. The clock is CLOCK_MONOTONIC: the same on all CPUs, never set back.
    unsafe { bpf_ktime_get_ns() }
}

/// The frame of an XDP program. `length` is the length of all its buffers, in bytes.
#[inline(always)]
pub fn of_xdp(ctx: &XdpContext, length: u32) -> LinearFrame {
    let (data, data_end) = (ctx.data(), ctx.data_end());
    let frame = Frame {
        time_ns: now_ns(),
        length,
        interface: ctx.ingress_ifindex() as u32,
        hook: Hook::Xdp,
        stripped_vlan: None,
        // A multi-buffer frame is one packet: drivers that run XDP do not aggregate, and veth has no wire.
        segments: None,
    };
    LinearFrame {
        frame,
        // SAFETY: both pointers are those of the context, and XDP helpers that move memory are not used.
        cursor: unsafe { PacketCursor::new(data, data_end) },
        linear: is_linear(data, data_end, length),
    }
}

/// The length of an XDP frame in all its buffers, in bytes (needs Linux 5.18).
#[inline(always)]
pub fn buffers_length(ctx: &XdpContext) -> u32 {
    // SAFETY: the context is that of this program.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) as u32 }
}

/// The frame of a tc program.
#[inline(always)]
pub fn of_tc(ctx: &TcContext, hook: Hook) -> LinearFrame {
    of_tc_with(ctx, hook, LINEAR_HEADERS)
}

/// The frame of a tc program that looks into tunnels.
#[inline(always)]
pub fn of_tc_inside(ctx: &TcContext, hook: Hook) -> LinearFrame {
    of_tc_with(ctx, hook, LINEAR_LEVELS)
}

/// The frame of a tc program, with `headers` bytes in its linear part.
#[inline(always)]
fn of_tc_with(ctx: &TcContext, hook: Hook, headers: u32) -> LinearFrame {
    let skb = ctx.skb.skb;
    let length = ctx.len();
    let time_ns = now_ns();
    let wanted = if length < headers { length } else { headers };
    if !is_linear(ctx.data(), ctx.data_end(), wanted) {
        // SAFETY: the context is that of this program; its pointers are read again below. If memory is short, the
        // linear part is shorter and the parser reports a truncated frame.
        let _ = unsafe { bpf_skb_pull_data(skb, wanted) };
    }
    // The fields have 32 bits, and the verifier makes 64-bit pointers of them. Without `black_box` the compiler would
    // widen them again, which makes numbers of them.
    let (data, data_end) = (black_box(ctx.data()), black_box(ctx.data_end()));
    // SAFETY: plain loads from the context, which the verifier rewrites.
    let (interface, has_vlan, tci, count, size) =
        unsafe { ((*skb).ifindex, (*skb).vlan_present, (*skb).vlan_tci, (*skb).gso_segs, (*skb).gso_size) };
    let frame = Frame {
        time_ns,
        length,
        interface,
        hook,
        stripped_vlan: if has_vlan != 0 { Some(tci as u16) } else { None },
        segments: if size != 0 { Some(Segments { count, size }) } else { None },
    };
    LinearFrame {
        frame,
        // SAFETY: both pointers were read after the last helper that moves memory.
        cursor: unsafe { PacketCursor::new(data, data_end) },
        linear: is_linear(data, data_end, length),
    }
}

/// Counts the frame of an XDP program in this CPU's partition.
#[inline(always)]
pub fn meter<B: FrameBytes>(seen: &LinearFrame, bytes: &B) {
    let cpu = cpu();
    let Some(place) = Place::of(cpu) else { return count_stray(seen.frame.length) };
    // XDP frames have no stripped tag, so the length is that of the frame. With `Frame::wire_length` the verifier would
    // do half as much work again.
    meter_in(cpu, place, &seen.frame, seen, |frame| frame.length, bytes);
}

/// Counts the frame of a tc program in this CPU's partition.
#[inline(always)]
pub fn meter_tc(ctx: &TcContext, seen: &LinearFrame) {
    let cpu = cpu();
    let Some(place) = Place::of(cpu) else { return count_stray(seen.frame.wire_length()) };
    let Some(frame) = place.spill_frame(&seen.frame) else { return };
    meter_in(cpu, place, frame, seen, Frame::wire_length, &Socket(ctx));
}

/// As [`meter`], and looks into tunnels.
#[inline(always)]
pub fn meter_inside<B: FrameBytes>(ctx: &XdpContext, seen: &LinearFrame, bytes: &B) {
    let cpu = cpu();
    let Some(place) = Place::of(cpu) else { return count_stray(seen.frame.length) };
    let Some(frame) = place.spill_frame(&seen.frame) else { return };
    // SAFETY: as in `of_xdp`. The compiler must not do arithmetic with the 32 bits of the pointers in the context.
    let start = || unsafe { PacketCursor::new(black_box(ctx.data()), black_box(ctx.data_end())) };
    meter_levels(cpu, place, frame, seen.linear, start, bytes);
}

/// As [`meter_tc`], and looks into tunnels.
#[inline(always)]
pub fn meter_tc_inside(ctx: &TcContext, seen: &LinearFrame) {
    let cpu = cpu();
    let Some(place) = Place::of(cpu) else { return count_stray(seen.frame.wire_length()) };
    let Some(frame) = place.spill_frame(&seen.frame) else { return };
    // SAFETY: as in `of_tc`, after which no helper moves memory.
    let start = || unsafe { PacketCursor::new(black_box(ctx.data()), black_box(ctx.data_end())) };
    meter_levels(cpu, place, frame, seen.linear, start, &Socket(ctx));
}

#[inline(always)]
fn meter_levels<F: Fn() -> PacketCursor, B: FrameBytes>(
    cpu: u32,
    place: Place,
    frame: &Frame,
    linear: bool,
    start: F,
    bytes: &B,
) {
    let Some(mut steps) = Steps::of(cpu, place, start) else { return };
    steps.progress().begin(frame, None);
    let parsed = parse_steps(&mut steps, frame);
    let outside = !linear && matches!(parsed, Err(Skipped::Truncated));
    let parsed = if outside { Err(Skipped::NotLinear) } else { parsed };
    black_box(count_steps(cpu, &mut steps, frame, parsed, bytes));
}

/// Parses all levels. A function of its own, because parsing and counting together need more stack than there is.
#[inline(never)]
fn parse_steps<F: Fn() -> PacketCursor>(steps: &mut Steps<F>, frame: &Frame) -> Result<(), Skipped> {
    parse_levels(frame, &Ports, steps)
}

/// Counts a parsed frame, as a function of its own. It returns a number, because the verifier refuses a function that leaves
/// anything else in the register of the result.
#[inline(never)]
fn count_steps<F: Fn() -> PacketCursor, B: FrameBytes>(
    cpu: u32,
    steps: &mut Steps<F>,
    frame: &Frame,
    parsed: Result<(), Skipped>,
    bytes: &B,
) -> u32 {
    let done = black_box(0);
    let Some(mut partition) = Partition::current(cpu) else { return done };
    match parsed {
        Ok(()) => {
            let Some(packet) = steps.packet() else { return done };
            let metered = if is_filtered_out(cpu, packet, untagged_length(frame, ETHERNET)) {
                filter_out(&mut partition, packet)
            } else {
                record_inside(&mut partition, packet, bytes, steps.progress().outer())
            };
            count_tunnels(&mut partition, steps.progress(), metered, packet.count);
        }
        Err(reason) => {
            skip(&mut partition, frame.wire_length(), reason);
            count_tunnels(&mut partition, steps.progress(), Metered::Skipped(reason), 1);
        }
    }
    done
}

#[inline(always)]
fn meter_in<B: FrameBytes>(
    cpu: u32,
    place: Place,
    frame: &Frame,
    seen: &LinearFrame,
    wire_length: impl Fn(&Frame) -> u32,
    bytes: &B,
) {
    match parse(frame, seen.cursor) {
        Ok(packet) => {
            let Some(packet) = place.spill(&packet) else { return };
            let Some(mut partition) = Partition::current(cpu) else { return };
            // The packet is counted whatever the result is.
            let _ = if is_filtered_out(cpu, packet, untagged_length(frame, ETHERNET)) {
                filter_out(&mut partition, packet)
            } else {
                record(&mut partition, packet, bytes)
            };
        }
        Err(reason) => {
            let Some(mut partition) = Partition::current(cpu) else { return };
            let outside = !seen.linear && matches!(reason, Skipped::Truncated);
            skip(&mut partition, wire_length(frame), if outside { Skipped::NotLinear } else { reason });
        }
    }
}
