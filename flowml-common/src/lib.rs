//! The part of flowml that runs in the kernel and in userspace: one parser, one flow table.
//!
//! The modules stand in the order of the data: bytes come through a [`cursor`], are read as [`headers`],
//! become a [`packet`], which is added to the [`counts`] of its [`flow`] in the [`table`], and whose [`content`] may be kept,
//! as the packet is that an ICMP error quotes ([`quote`]). What one agent leaves to the next is in [`handover`].
//! There is no allocation, no panic on any input and no `unsafe` here, and nothing depends on the host.
#![no_std]
#![forbid(unsafe_code)]

pub mod content;
pub mod counts;
pub mod cursor;
pub mod flow;
pub mod handover;
pub mod headers;
pub mod packet;
pub mod quote;
pub mod table;
pub mod time;
