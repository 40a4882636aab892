//! Making room for another session.

use super::open::Session;
use super::sessions::Sessions;
use super::timeouts::EndReason;
use super::timers::Timers;

/// Number of slots that are searched for a session of one packet if there are too many sessions.
const LOOKS: usize = 64;

impl Sessions {
    pub(super) fn make_room(&mut self) {
        while self.index.len() >= self.capacity {
            let Some(number) = self.find_slight().or_else(|| self.nearest_to_end()) else { return };
            self.overflow.displaced += 1;
            self.end(number, EndReason::LackOfResources);
        }
    }

    /// A session of one packet, if one is close. The search goes round all slots, and slots are filled in this order.
    /// So it finds the oldest such session, as long as there are many.
    fn find_slight(&mut self) -> Option<u32> {
        for _ in 0..LOOKS.min(self.slots.len()) {
            let number = self.hand % self.slots.len();
            self.hand = number + 1;
            if self.slots[number].as_ref().is_some_and(Session::is_slight) {
                return Some(number as u32);
            }
        }
        None
    }

    /// The session that ends first if no packet comes.
    fn nearest_to_end(&mut self) -> Option<u32> {
        while let Some((tick, number)) = self.timers.take_earliest() {
            let Some(session) = self.slot(number).filter(|session| session.due == tick) else { continue };
            if Timers::tick(self.rules.deadline(session).0) <= tick {
                return Some(number);
            }
            // Packets have come since it was scheduled.
            self.reschedule(number);
        }
        None
    }
}
