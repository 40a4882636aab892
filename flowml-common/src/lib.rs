//! The code of flowml that runs in the kernel and in userspace: one parser and one flow table.
//!
//! A packet passes the modules in this order. A [`cursor`] gives access to its bytes. The parser ([`parse`]) reads their
//! [`headers`] and makes a [`packet`]. The [`table`] adds it to the [`counts`] of its [`flow`]. It may keep the first payload bytes
//! ([`content`]) and the packet that an ICMP error quotes ([`quote`]). If it looks into [`tunnel`]s, it keeps their
//! addresses too. A [`filter`] selects the packets that are counted in flows. [`handover`] is the state that one agent leaves to
//! the next.
//!
//! This crate does not allocate, does not panic on any input, contains no `unsafe`, and does not depend on the host.
#![no_std]
#![forbid(unsafe_code)]

pub mod content;
pub mod counts;
pub mod cursor;
pub mod filter;
pub mod flow;
pub mod handover;
pub mod headers;
pub mod icmp;
pub mod packet;
pub mod parse;
pub mod quote;
pub mod table;
pub mod time;
pub mod tunnel;
