//! Ending sessions and records.

use super::ended::Ended;
use super::open::Record;
use super::sessions::Sessions;
use super::timeouts::EndReason;
use crate::process::memory::is_worth_keeping;

impl Sessions {
    /// Ends the sessions and records that are over at `now_ns`, and returns the records that are complete since the
    /// last call. There may be more if the number at once is limited: call this function until it returns none.
    #[must_use]
    pub fn expire(&mut self, now_ns: u64) -> Vec<Ended> {
        self.latest_ns = self.latest_ns.max(now_ns);
        while self.ended.len() < self.most_at_once
            && let Some((tick, numbers)) = self.timers.take_due(now_ns, self.most_at_once - self.ended.len())
        {
            for number in numbers {
                self.look_at(number, tick, now_ns);
            }
        }
        self.take_ended()
    }

    /// The records that are complete. Without any, the memory for them is kept.
    fn take_ended(&mut self) -> Vec<Ended> {
        if self.ended.is_empty() { Vec::new() } else { std::mem::take(&mut self.ended) }
    }

    /// Uses the memory of returned records for the next ones. Page faults of new memory take longer than the records.
    pub(crate) fn reuse(&mut self, mut ended: Vec<Ended>) {
        if self.ended.capacity() == 0 && is_worth_keeping(ended.capacity(), ended.len()) {
            ended.clear();
            self.ended = ended;
        }
    }

    /// The time before which [`expire`](Self::expire) would find nothing, in ns.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.timers.earliest_ns()
    }

    /// Ends all sessions, because the agent stops. Sessions that are already over get their own reason. As with
    /// [`Self::expire`], there may be more sessions: call this function until it returns none.
    #[must_use]
    pub fn flush(&mut self) -> Vec<Ended> {
        // No session is looked up any more.
        self.index.clear();
        while self.flushed < self.slots.len() && self.ended.len() < self.most_at_once {
            let number = self.flushed as u32;
            self.flushed += 1;
            while let Some((deadline_ns, reason)) = self.slot(number).map(|session| self.rules.deadline(session))
                && deadline_ns <= self.latest_ns
            {
                self.end(number, reason);
            }
            self.end(number, EndReason::ForcedEnd);
        }
        if self.flushed == self.slots.len() {
            self.timers.clear();
            self.memory.clear();
            (self.latest_ns, self.flushed) = (0, 0);
        }
        self.take_ended()
    }

    /// Ends the session if its time has come. Otherwise schedules its next check.
    fn look_at(&mut self, number: u32, tick: u64, now_ns: u64) {
        let Some(session) = self.slot(number) else { return };
        if session.due != tick {
            return;
        }
        let (deadline_ns, reason) = self.rules.deadline(session);
        if deadline_ns <= now_ns {
            self.end(number, reason);
        } else {
            self.reschedule(number);
        }
    }

    pub(super) fn reschedule(&mut self, number: u32) {
        if let Some(session) = &mut self.slots[number as usize] {
            session.due = self.timers.schedule(number, self.rules.deadline(session).0);
        }
    }

    /// Ends the open record and returns it if it has packets. The session continues only after an active timeout.
    pub(super) fn end(&mut self, number: u32, reason: EndReason) {
        let Some(session) = &mut self.slots[number as usize] else { return };
        let initiator = session.initiator(self.rules.initiator);
        let first_sender = initiator.map(|found| found.sender).or(session.known.earlier);
        session.known.earlier = first_sender;
        let continues = matches!(session.record, Record::Further(_));
        if let Some((statistics, initiator)) = session.record.statistics().zip(initiator) {
            let stats = statistics.stats();
            let contents =
                if reason == EndReason::ActiveTimeout { session.contents.clone() } else { session.contents.take() };
            let (key, tunnel) = (session.key, session.tunnel.clone());
            let windows = session.windows.take();
            self.ended.push(Ended { key, stats, contents, tunnel, windows, initiator, reason, continues });
        }
        session.record = Record::Further(None);
        if let Some(first_sender) = first_sender {
            self.memory.keep(&session.key, first_sender, reason);
        }
        if reason == EndReason::ActiveTimeout {
            self.reschedule(number);
        } else {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if let Some(session) = slot {
            self.index.remove(self.index.hash(&session.key), number);
            // A session is not moved out of its slot, because it is large.
            *slot = None;
            self.free.push(number);
        }
    }
}
