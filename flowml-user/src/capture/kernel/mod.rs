//! The flow table in the kernel: loading the programs, flipping the epoch, reading and handing back partitions.

mod clock;
mod drained;
mod load;
mod maps;
pub(super) mod size;
mod table;

pub use self::clock::monotonic_ns;
pub(crate) use self::clock::realtime_ns;
pub use self::drained::{Committed, Drained};
pub use self::load::KernelTable;
pub use self::size::{DEFAULT_CAPACITY, Size};
pub use self::table::FlowTable;
