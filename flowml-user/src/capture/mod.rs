//! From the interface to drained partitions: the flow table in the kernel, and attaching it to interfaces; captures.
//!
//! The packets of a capture, counted in a flow table:
//!
//! ```
//! use std::path::Path;
//!
//! use bytemuck::Zeroable;
//! use flowml_common::table::{Seed, Shape};
//! use flowml_user::capture::file::CaptureFile;
//! use flowml_user::capture::vectors::VecTable;
//!
//! let mut table = VecTable::new(Shape::for_capacity(1024), Seed::zeroed());
//! let mut file = CaptureFile::open(Path::new("../tests/corpus/ethernet.pcap"))?;
//! while let Some(frame) = file.next_frame()? {
//!     frame.meter(&mut table);
//! }
//! assert_eq!(table.counts().received.packets, 155);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub mod filter;
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
