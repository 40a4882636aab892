//! The first payload bytes of a session: those of its earliest packet with payload in each direction.

use std::fmt;

use flowml_common::content::{Content, Contents as PartContents};
use flowml_common::flow::FlowStats;
use flowml_common::packet::Sender;
use serde::{Deserialize, Serialize};

/// What is kept of both directions, by [`Sender`]. The records of one session have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents([Option<Kept>; 2]);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    time_ns: u64,
    bytes: Box<[u8]>,
}

/// Payload is nobody's business: its length is told.
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
    /// Those of a session that begins with this part.
    pub(super) fn of(part: PartContents<'_>) -> Self {
        Self(part.map(|content| content.map(Kept::of)))
    }

    /// Joins those of a part that was counted later than `before`, the statistics of the record in the making. Where it
    /// is known that one followed the other, the result is what one CPU that saw all packets would have kept.
    pub(super) fn follow(&mut self, before: Option<&FlowStats>, part: &FlowStats, theirs: PartContents<'_>) {
        let senders = [Sender::Lower, Sender::Upper].into_iter();
        for ((mine, theirs), sender) in self.0.iter_mut().zip(theirs).zip(senders) {
            let own = mine.as_ref().map(Kept::content);
            let followed = before.is_none_or(|before| before.precedes(part, sender));
            let joined = if followed { own.or(theirs) } else { Content::merge(own, theirs) };
            if joined != own {
                *mine = joined.map(Kept::of);
            }
        }
    }

    /// What an endpoint sent first; nothing where it sent no payload, or none that was captured.
    #[must_use]
    pub fn sent_by(&self, sender: Sender) -> &[u8] {
        self.0[sender as usize].as_ref().map_or(&[], |kept| &kept.bytes)
    }
}
