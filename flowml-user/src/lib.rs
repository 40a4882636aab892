//! The userspace part of flowml: everything except the kernel programs.
//!
//! The modules have the order of the data (ARCHITECTURE.md). Each imports only from modules to its left.

pub mod capture;
pub mod dataset;
pub mod engine;
pub mod export;
pub mod features;
pub mod incident;
pub mod learning;
#[cfg(feature = "live")]
pub mod object;
pub mod process;
pub mod record;
pub mod sequential;
pub mod session;

/// Some test files are also part of the binary's tests, and name the library as it does.
#[cfg(test)]
extern crate self as flowml_user;
