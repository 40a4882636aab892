//! Frames for tests: a builder, named frames, and mutations.

mod builder;
mod checksum;
mod fields;
mod mutation;
mod named;
mod numbers;
mod tunnelled;

pub use self::builder::Frame;
pub use self::checksum::internet_checksum;
pub use self::fields::{Extension, Fragment, Ipv4, Ipv6, Layer, Ports, Tcp};
pub use self::mutation::mutate;
pub use self::named::{DISCARDED_BEFORE_TC, NAMED, Named};
pub use self::numbers::{NOBODY, SHORTEST, ether_type, flag, protocol};
pub use self::tunnelled::{TUNNELLED, Tunnelled, gre, guest_tcp, vxlan};
