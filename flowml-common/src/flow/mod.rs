//! The key of a flow, its statistics, and merging the statistics of its partial flows.
//!
//! A flow that is metered on several CPUs, hooks or epochs consists of several *partial flows*. Within a partial flow
//! every inter-arrival time is known. [`FlowStats::merge`] adds partial flows without an inter-arrival time between
//! them. It is commutative and associative. [`FlowStats::follow`] does the same, and adds the inter-arrival time
//! between the two if one follows the other. Therefore samples of inter-arrival time = packets − partial flows, always.

mod firsts;
mod key;
mod merge;
mod stats;
mod tcp;

pub use self::firsts::{FIRST_PACKETS, FirstPackets};
pub use self::key::{Address, Endpoint, FlowKey, IpVersion, KEY_HALVES, Sender};
pub(crate) use self::stats::saturate_u16;
pub use self::stats::{Direction, FlowStats, LENGTH_BINS, NO_SAMPLE, PartialFlow, length_bin};
pub use self::tcp::{ACK, FIN, Opening, PSH, RST, SYN, TCP_FLAGS};
