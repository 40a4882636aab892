//! What flowml's kernel programs are made of: packet memory as a cursor, the maps, and the hooks' view of a frame.
//!
//! This is the only place where packet memory is dereferenced. Nothing here panics, and every program lets every
//! packet pass.
#![no_std]
// Atomic additions are written in assembly, which the BPF target does not have on stable.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod cursor;
pub mod frame;
pub mod maps;
pub mod payload;

/// A program without a panicking path needs a panic handler all the same: the compiler asks for one.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The licence that the kernel asks for before it lends its GPL-only helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
