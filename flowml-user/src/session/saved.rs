//! Saving the open sessions for the next run, one by one, so that there is no second copy of all of them in memory.

use std::io::{Read, Write};

use flowml_common::table::Count;
use serde::{Deserialize, Serialize};

use super::ended::Ended;
use super::memory::Memory;
use super::open::Session;
use super::sessions::Sessions;
use super::timeouts::EndReason;
use super::timers::Timers;
use crate::process::state::{Reader, StateError, Writer};

/// The state beside the sessions: the slot at which the next search for a session of one packet starts, free slots,
/// timers, initiators of ended sessions (those that were silent, and those that TCP ended), the latest time, and the
/// sessions whose records have started in this interval.
type Around = (usize, Vec<u32>, Timers, Memory, u64, Vec<u32>);

/// The sessions that one run leaves to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Number of sessions.
    pub sessions: u64,
    /// Packets and bytes of these sessions that are in no record yet.
    pub counted: Count,
}

impl Session {
    /// Packets and bytes in the open record.
    fn counted(&self) -> Count {
        self.record.statistics().map_or_else(Count::default, |statistics| Count {
            packets: statistics.packets(),
            bytes: statistics.frame_bytes(),
        })
    }
}

impl Sessions {
    /// Writes all open sessions, those of several packets first. `has_time` receives the position of a session and the
    /// packets in its open record, and returns whether there is time for it. All sessions stay open.
    /// `take_unsaved` ends those that were not written.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save<W: Write>(
        &mut self,
        to: &mut Writer<W>,
        has_time: impl Fn(usize, u64) -> bool,
    ) -> Result<Left, StateError> {
        to.put(&self.slots.len())?;
        let (mut left, mut without) = (Left::default(), Vec::new());
        let open = (0..self.slots.len() as u32).filter(|number| self.slot(*number).is_some());
        let (slight, busy): (Vec<u32>, Vec<u32>) =
            open.partition(|number| self.slot(*number).is_some_and(Session::is_slight));
        for (place, number) in busy.into_iter().chain(slight).enumerate() {
            let Some(session) = self.slot(number) else { continue };
            let counted = session.counted();
            if has_time(place, counted.packets) {
                to.put(&Some((number, session)))?;
                left.sessions += 1;
                left.counted.add(counted.packets, counted.bytes);
            } else {
                without.push(number);
            }
        }
        to.put(&None::<(u32, &Session)>)?;
        // For the next run their places are free.
        let free = [&self.free[..], &without].concat();
        to.put(&(self.hand, free, &self.timers, &self.memory, self.latest_ns, &self.begun))?;
        to.put(&left)?;
        self.unsaved = without.into_iter();
        Ok(left)
    }

    /// Ends at most this number of the sessions that [`save`](Self::save) did not write, and returns their records. The
    /// result is empty if there are no more. After that the run ends: no session is looked up any more.
    pub(crate) fn take_unsaved(&mut self, at_most: usize) -> Vec<Ended> {
        self.index.clear();
        while self.ended.len() < at_most
            && let Some(number) = self.unsaved.next()
        {
            self.end(number, EndReason::ForcedEnd);
        }
        std::mem::take(&mut self.ended)
    }

    /// Continues with the sessions that another run has left. There must be no sessions yet.
    ///
    /// # Errors
    /// If the sessions cannot be read, contradict each other, or are too many.
    pub(crate) fn restore<R: Read>(&mut self, from: &mut Reader<R>) -> Result<Left, StateError> {
        let damaged = |what: &str| StateError::Damaged(what.to_owned());
        let places: usize = from.take()?;
        if places > self.capacity {
            return Err(StateError::TooMuch(format!(
                "it has {places} places for sessions, and '--memory-max' allows at most {}",
                self.capacity
            )));
        }
        self.slots.resize_with(places, || None);
        let mut found = Left::default();
        while let Some((number, session)) = from.take::<Option<(u32, Session)>>()? {
            if !self.is_free(number) {
                return Err(damaged("a session has no place, or that of another session"));
            }
            let hash = self.index.hash(&session.key);
            if self.find(hash, &session.key).is_some() {
                return Err(damaged("two sessions have the same key"));
            }
            let counted = session.counted();
            found.sessions += 1;
            found.counted.add(counted.packets, counted.bytes);
            self.index.insert(hash, number);
            self.slots[number as usize] = Some(session);
        }
        let (hand, free, timers, memory, latest_ns, begun): Around = from.take()?;
        if free.len() + self.index.len() != places || !free.iter().all(|number| self.is_free(*number)) {
            return Err(damaged("some places of sessions are neither free nor used"));
        }
        if !timers.numbers().chain(&begun).all(|number| (*number as usize) < places) {
            return Err(damaged("a timer belongs to no session"));
        }
        if from.take::<Left>()? != found {
            return Err(damaged("its numbers of sessions and packets are wrong"));
        }
        (self.hand, self.free, self.timers, self.latest_ns, self.begun) = (hand, free, timers, latest_ns, begun);
        self.memory = memory;
        Ok(found)
    }

    /// All open sessions.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item: Serialize> {
        self.slots.iter().flatten()
    }

    fn is_free(&self, number: u32) -> bool {
        self.slots.get(number as usize).is_some_and(Option::is_none)
    }
}
