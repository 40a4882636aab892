//! The userspace part of flowml: everything except the kernel programs.
//!
//! The modules have the order of the data (ARCHITECTURE.md). Each imports only from modules to its left.
//!
//! - [`capture`] counts packets in flow tables: those of the kernel, or those of a capture file.
//! - [`session`] joins the partial flows of a flow, and [`record`] makes its record.
//! - [`features`] has the columns of flows and host windows.
//! - [`sequential`] detects activity that has a name, and [`learning`] what is unusual. [`incident`] joins both.
//! - [`export`] writes rows, [`dataset`] reads tables, and [`engine`] runs all of it.
//!
//! The documentation of each module has a short example. The example of [`record`] reads a capture, and the one of
//! [`learning::batch`] trains a detector.
#![cfg_attr(not(feature = "live"), expect(dead_code, reason = "some items are only for live runs"))]

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
