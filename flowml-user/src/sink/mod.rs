//! Where records go: files and standard output for programs, standard error for people.

mod target;

pub use target::{Destination, Format, Target, TargetError, grammar};
