//! From the interface to drained partitions: the flow table in the kernel, and attaching it to interfaces; captures.

#[cfg(feature = "live")]
pub mod attach;
#[cfg(feature = "live")]
mod clsact;
pub mod copied;
#[cfg(feature = "live")]
pub mod cpus;
#[cfg(feature = "live")]
pub mod device;
#[cfg(feature = "live")]
mod error;
pub mod file;
#[cfg(feature = "live")]
mod generic;
#[cfg(feature = "live")]
mod handover;
#[cfg(feature = "live")]
pub mod held;
#[cfg(feature = "live")]
pub mod interface;
#[cfg(feature = "live")]
pub mod kernel;
#[cfg(feature = "live")]
mod pin_error;
#[cfg(feature = "live")]
pub mod pins;
#[cfg(feature = "live")]
pub mod programs;
#[cfg(feature = "live")]
pub mod selection;
#[cfg(feature = "live")]
pub mod shared;
#[cfg(feature = "live")]
pub mod takeover;
pub mod vectors;
#[cfg(feature = "live")]
pub mod watch;

#[cfg(feature = "live")]
pub use error::{CaptureError, UNKNOWN_PREEMPTION};
#[cfg(feature = "live")]
pub use pin_error::PinError;
