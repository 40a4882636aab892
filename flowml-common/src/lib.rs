//! The part of flowml that runs in the kernel and in userspace: one parser, one flow table.
#![no_std]
#![forbid(unsafe_code)]
