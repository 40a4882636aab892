//! The laboratory: network namespaces that undo themselves, frames, traffic and the agent that watches it.
//!
//! Everything here works inside namespaces that [`lab::Lab`] made, and nowhere else.

pub mod frames;
pub mod lab;
pub mod process;
pub mod traffic;
