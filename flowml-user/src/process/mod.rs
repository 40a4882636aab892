//! What the system grants this process and hears from it: capabilities, the service manager, the journal, durable files.

pub mod capabilities;
pub mod journal;
pub mod replace;
pub mod service;
