//! What the system is, grants this process and hears from it: the kernel, capabilities, the service manager, the journal, durable files.

pub mod capabilities;
pub mod journal;
pub mod kernel;
pub mod replace;
pub mod service;
