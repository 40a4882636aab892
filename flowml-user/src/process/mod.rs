//! Properties of the system and of this process, and their use by the agent.
//!
//! These are the kernel, memory, capabilities, the service manager, the journal, files (durable, private, complete, and
//! for the next run), plain text for terminals, the sandbox, durations and sizes as the user writes them, queues
//! between threads, priorities of threads, secrets of hashes, and the current time.
//!
//! ```
//! assert_eq!(flowml_user::process::words::short(1234.0), "1.23k");
//! ```

pub mod amounts;
pub mod capabilities;
pub mod crypto_pan;
pub mod journal;
pub mod kernel;
pub mod memory;
pub mod plain;
pub(crate) mod prefetch;
#[cfg(feature = "live")]
pub(crate) mod priority;
pub mod private;
pub mod queue;
pub(crate) mod replace;
#[cfg(feature = "live")]
pub mod sandbox;
pub(crate) mod secret;
#[cfg(feature = "live")]
pub(crate) mod service;
pub mod state;
pub mod unix_time;
pub mod whole;
pub mod words;
