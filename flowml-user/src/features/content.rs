//! The features of a flow's payload content, and the columns that the flows of a run have.

use super::Learn::{Never, Ratio};
use super::{FLOW_FEATURES, Feature, FlowRow, Of, count, real};
use crate::record::{Content, Inspector};

/// Makes the table of the features of the first payload bytes: the same for each direction and its sender.
macro_rules! content_features {
    ($($direction:ident $prefix:literal $sender:literal),*) => { &[$(
        count(concat!($prefix, "first_payload_bytes"), "bytes", Never,
            |row| of(row, |content| content.$direction.bytes).unwrap_or(0),
            concat!("Number of kept bytes of the first payload of the ", $sender)),
        real(concat!($prefix, "first_payload_entropy"), "bits", Ratio,
            |row| real_of(row, |content| content.$direction.entropy),
            "Entropy of these bytes: 0 if all bytes are equal, 8 if all 256 values are equally frequent"),
        real(concat!($prefix, "first_payload_printable_share"), "share", Ratio,
            |row| real_of(row, |content| content.$direction.printable_share),
            "Share of visible ASCII and white space in these bytes"),
    )*] };
}

/// The features of the first payload bytes, where these are kept.
///
/// The number of bytes is not learnt, because the limit of the run decides it. The reals of a direction without payload
/// are NaN, which the learner replaces with the typical value.
pub const CONTENT_FEATURES: &[Feature<FlowRow>] =
    content_features!(src2dst "src2dst_" "initiator", dst2src "dst2src_" "responder");

fn of<T>(row: &FlowRow, of: fn(&Content) -> T) -> Option<T> {
    row.record.content.as_deref().map(of)
}

fn real_of(row: &FlowRow, of: fn(&Content) -> f64) -> f64 {
    self::of(row, of).unwrap_or(f64::NAN)
}

/// The columns that the flows of a run have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowColumns {
    /// The columns of every run: those from headers.
    #[default]
    Headers,
    /// These columns, the columns from the first payload bytes, and one column for each pattern searched in them.
    Content(&'static [&'static str]),
}

impl FlowColumns {
    /// The columns of a run whose flows `inspector` inspects; `None` means that payload is not inspected.
    #[must_use]
    pub fn of(inspector: Option<&Inspector>) -> Self {
        inspector.map_or(Self::Headers, |inspector| Self::Content(inspector.match_columns()))
    }

    /// The features of a run's flows, in column order.
    pub fn features(self) -> impl Iterator<Item = Feature<FlowRow>> {
        FLOW_FEATURES.iter().copied().chain(self.content_features())
    }

    /// The content features among them.
    pub fn content_features(self) -> impl Iterator<Item = Feature<FlowRow>> {
        let (table, matches): (&[_], &[_]) = match self {
            Self::Headers => (&[], &[]),
            Self::Content(matches) => (CONTENT_FEATURES, matches),
        };
        table.iter().copied().chain((0..).zip(matches).map(|(bit, name)| of_pattern(name, bit)))
    }
}

/// The columns that the rows of flows have in a run: of the flows themselves, and of their tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowColumns {
    /// The columns of the flows.
    pub flows: FlowColumns,
    /// Whether there are the columns of the tunnel. They are identifiers, so models do not depend on them.
    pub tunnels: bool,
}

impl From<FlowColumns> for RowColumns {
    fn from(flows: FlowColumns) -> Self {
        Self { flows, tunnels: false }
    }
}

/// The feature of a pattern. It is learnt as a ratio, which is 0 or 1 for one flow.
const fn of_pattern(name: &'static str, bit: u32) -> Feature<FlowRow> {
    Feature {
        name,
        unit: "flag",
        meaning: "1 where the pattern matches the first payload bytes of either side, else 0",
        learn: Ratio,
        side: None,
        nfstream: false,
        of: Of::Bit(|row| of(row, |content| content.matched).unwrap_or(0), bit),
    }
}
