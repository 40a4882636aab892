//! All open sessions.

use flowml_common::content::PayloadLimit;
use flowml_common::flow::{FlowKey, FlowStats};
use flowml_common::tunnel::Outer;

use super::contents::Contents;
use super::ended::Ended;
use super::index::Index;
use super::memory::Memory;
use super::open::Session;
use super::rules::Rules;
use super::timeouts::Timeouts;
use super::timers::Timers;

/// The default number of open sessions (`bytes_of_one`).
pub const DEFAULT_CAPACITY: usize = 1 << 20;

/// The largest size of index and timers for one session, in bytes. Hash tables and vectors are at least half full.
const INDEX: usize = 3 * Index::BYTES_OF_ONE + 4 * size_of::<u32>();

/// The largest memory of one session, in bytes: about 1 KiB, the kept payload of both directions, and the tunnel. A
/// session of few packets takes half of that.
#[must_use]
pub(crate) fn bytes_of_one(payload: Option<PayloadLimit>, tunnels: bool) -> usize {
    let contents = payload.map_or(0, |limit| size_of::<Contents>() + 2 * limit.bytes() as usize);
    let tunnel = if tunnels { size_of::<Outer>() } else { 0 };
    size_of::<Option<Session>>() + size_of::<FlowStats>() + INDEX + contents + tunnel
}

/// All open sessions. Times are in ns of the capture's clock.
pub struct Sessions {
    pub(super) rules: Rules,
    pub(super) capacity: usize,
    /// The approximate number of sessions that one [`Self::expire`] ends.
    pub(super) most_at_once: usize,
    /// Whether a flow of which one packet is known gets a session.
    pub(super) keeps_slight: bool,
    /// Sessions and flows without room since the last [`Self::take_overflow`].
    pub(super) overflow: Overflow,
    /// Number of slots that [`Self::flush`] has processed.
    pub(super) flushed: usize,
    /// The slot at which the next search for a session of one packet starts.
    pub(super) hand: usize,
    /// The place in `slots` of each flow's session.
    pub(super) index: Index,
    pub(super) slots: Vec<Option<Session>>,
    pub(super) free: Vec<u32>,
    /// A packet does not move its session in the timers. A session that has not ended at its tick is put under a later
    /// tick. So it is checked about once in an idle timeout, however many drains there are.
    pub(super) timers: Timers,
    /// The initiators of ended sessions.
    pub(super) memory: Memory,
    /// The latest known time, of a packet or of the clock.
    pub(super) latest_ns: u64,
    /// The sessions whose records have started since host windows were last set.
    pub(super) begun: Vec<u32>,
    pub(super) ended: Vec<Ended>,
    /// The sessions that [`Self::save`] had no time for.
    pub(super) unsaved: std::vec::IntoIter<u32>,
}

/// Numbers of sessions and flows for which there was no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// Number of sessions that ended early to make room for others.
    pub displaced: u64,
    /// Number of flows of one packet that got no session ([`Sessions::set_keeps_slight`]).
    pub passed_by: u64,
}

impl Sessions {
    /// An empty set of sessions.
    #[must_use]
    pub fn new(timeouts: Timeouts) -> Self {
        Self {
            rules: Rules::new(timeouts),
            capacity: DEFAULT_CAPACITY,
            most_at_once: usize::MAX,
            keeps_slight: true,
            overflow: Overflow::default(),
            flushed: 0,
            hand: 0,
            index: Index::default(),
            slots: Vec::new(),
            free: Vec::new(),
            timers: Timers::default(),
            memory: Memory::default(),
            latest_ns: 0,
            begun: Vec::new(),
            ended: Vec::new(),
            unsaved: Vec::new().into_iter(),
        }
    }

    /// Keeps at most `capacity` open sessions (at least one). When there is no room, a session of one packet ends, the
    /// oldest first. If there are hardly any, the session that is closest to its end does.
    #[must_use]
    pub fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.clamp(1, u32::MAX as usize);
        self
    }

    /// Ends about this number of sessions at a time, so that their records take a bounded amount of memory.
    #[must_use]
    pub(crate) fn with_most_at_once(mut self, sessions: usize) -> Self {
        self.most_at_once = sessions.max(1);
        self
    }

    /// Sets whether a flow of which one packet is known gets a session. If it gets none, it is in no record, and the
    /// observer receives it with [`Kept::Not`](super::Kept::Not).
    pub(crate) const fn set_keeps_slight(&mut self, keeps: bool) {
        self.keeps_slight = keeps;
    }

    /// Returns and resets the numbers of sessions and flows without room.
    pub(crate) fn take_overflow(&mut self) -> Overflow {
        std::mem::take(&mut self.overflow)
    }

    /// Removes the records that ended since the last [`Self::expire`] and consist of one packet, of a session without an
    /// earlier record, and passes them to `each`.
    pub(crate) fn take_slight(&mut self, mut each: impl FnMut(&Ended)) {
        self.ended.retain(|ended| {
            let is_slight = ended.is_slight();
            if is_slight {
                each(ended);
            }
            !is_slight
        });
    }

    /// Number of open sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn slot(&self, number: u32) -> Option<&Session> {
        self.slots.get(number as usize)?.as_ref()
    }

    /// The number of the session with this key, whose hash is given.
    pub(super) fn find(&self, hash: u32, key: &FlowKey) -> Option<u32> {
        self.index.find(hash, |number| self.slot(number).is_some_and(|session| session.key == *key))
    }
}
