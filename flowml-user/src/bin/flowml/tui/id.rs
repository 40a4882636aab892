//! The identity of a row.

use flowml_common::flow::{Address, FlowKey};

/// The identity of a row, independent of its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Id {
    Incident(u64),
    AnomalousFlow(FlowKey),
    Flow(FlowKey),
    Host(Address),
    Cluster(&'static str, u32),
}
