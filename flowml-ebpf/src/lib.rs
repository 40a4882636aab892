//! The parts of flowml's kernel programs: packet memory as a cursor, the maps, and the frame as each hook provides it.
//!
//! Packet memory is dereferenced only here. Nothing here panics, and every program lets every packet pass.
#![no_std]
// Atomic additions are written in assembly, which is not stable for the BPF target.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod cursor;
pub mod frame;
pub mod maps;
pub mod payload;

/// The compiler requires a panic handler, although no program has a path that panics.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The licence. The kernel requires it for helpers that are GPL-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
