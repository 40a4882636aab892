//! Traffic of every kind, sent only inside the hosts of a laboratory.

pub mod raw;
