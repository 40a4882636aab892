//! The implementation of each command.

pub(crate) mod confinement;
pub(crate) mod doctor;
pub(crate) mod evaluate;
pub(crate) mod features;
pub(crate) mod feedback;
pub(crate) mod fleet;
pub(crate) mod label;
pub(crate) mod pages;
pub(crate) mod read;
pub(crate) mod run;
mod traffic;
pub(crate) mod train;
pub(crate) mod unpin;
