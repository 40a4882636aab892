//! Traffic of every kind, sent only inside the hosts of a laboratory, with a limited count, rate and time.

pub mod attack;
pub mod background;
pub mod dns;
pub mod peers;
pub mod raw;
pub(crate) mod rhythm;
pub(crate) mod span;
