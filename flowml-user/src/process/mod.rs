//! Amounts as people write them; what the system is, grants this process and hears from it: the kernel, memory, capabilities,
//! the service manager, the journal, durable, private and whole files, a file for the next run, plain text for terminals; what it
//! keeps itself from; and the queues between its threads.

pub mod amounts;
pub mod capabilities;
pub mod journal;
pub mod kernel;
pub mod memory;
pub mod plain;
pub mod private;
pub mod queue;
pub mod replace;
pub mod sandbox;
pub mod service;
pub mod state;
pub mod whole;
