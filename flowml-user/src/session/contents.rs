//! The first payload bytes of a session: those of its earliest packet with payload in each direction.

use std::fmt;

use flowml_common::content::{Content, Contents as PartialContents};
use flowml_common::flow::{FlowStats, Sender};
use serde::{Deserialize, Serialize};

/// The kept bytes of both directions, by [`Sender`]. All records of a session have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents([Option<Kept>; 2]);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    time_ns: u64,
    bytes: Box<[u8]>,
}

/// Payload is private: only its length is shown.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.content().fmt(f)
    }
}

impl Kept {
    fn of(content: Content<'_>) -> Self {
        Self { time_ns: content.time_ns, bytes: content.bytes.into() }
    }

    const fn content(&self) -> Content<'_> {
        Content { time_ns: self.time_ns, bytes: &self.bytes }
    }
}

impl Contents {
    /// The contents of a session that starts with this partial flow.
    pub(super) fn of(partial: PartialContents<'_>) -> Self {
        Self(partial.map(|content| content.map(Kept::of)))
    }

    /// Adds the contents of a partial flow that was counted later than `before`, the statistics of the open record. If
    /// one is known to follow the other, the result is what one CPU would have kept for all packets.
    pub(super) fn follow(&mut self, before: Option<&FlowStats>, partial: &FlowStats, theirs: PartialContents<'_>) {
        let senders = [Sender::Lower, Sender::Upper].into_iter();
        for ((mine, theirs), sender) in self.0.iter_mut().zip(theirs).zip(senders) {
            let own = mine.as_ref().map(Kept::content);
            let followed = before.is_none_or(|before| before.precedes(partial, sender));
            let joined = if followed { own.or(theirs) } else { Content::merge(own, theirs) };
            if joined != own {
                *mine = joined.map(Kept::of);
            }
        }
    }

    /// The first payload bytes that an endpoint sent. Empty if it sent no payload, or if none was captured.
    #[must_use]
    pub fn sent_by(&self, sender: Sender) -> &[u8] {
        self.0[sender as usize].as_ref().map_or(&[], |kept| &kept.bytes)
    }
}
