//! Delivers events on its own thread, in their order, and keeps them while the receiver is away.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::account::Account;
use super::super::backoff::Backoff;
use super::super::batch::IncidentEvent;
use super::super::pace::Pace;
use super::event::Event;
use super::receive::{Failure, Receive};
use super::sender::Sender;
use crate::incident::State;
use crate::process::capabilities::{self, CapabilitySet};

/// The largest number of waiting events. The closing of an incident whose opening was accepted waits in any case, so that
/// no receiver sees an incident as open for ever. At most 4,096 incidents are open at once.
pub(super) const WAITING: usize = 4096;

/// Time limit for delivering an event.
const LIMIT: Duration = Duration::from_secs(10);

/// Time for which the end of a live run waits until waiting events are delivered, and that of a run over files.
const LAST_LIVE: Duration = Duration::from_secs(1);
const LAST_OFFLINE: Duration = Duration::from_secs(10);

/// The longest wait without a check.
const LONG: Duration = Duration::from_secs(60);

/// The thread that delivers events to a receiver.
pub(super) struct Courier {
    shared: Arc<Shared>,
    pace: Pace,
}

/// The state shared by the output and the delivering thread.
struct Shared {
    state: Mutex<Delivering>,
    changed: Condvar,
    /// The counts that other threads read, and how long the thread has waited for the receiver.
    shown: Arc<Account>,
}

#[derive(Default)]
struct Delivering {
    /// Events that are not delivered, in their order. The first may be on its way.
    waiting: VecDeque<IncidentEvent>,
    /// The incidents of which the opening was accepted, and the closing was not yet.
    opened: HashSet<u64>,
    sent: u64,
    lost: u64,
    /// The reason why the last event was not delivered and is tried again.
    away: Option<String>,
    /// The reason of a refusal since this was last checked.
    refused: Option<String>,
    /// Whether events were lost because too many wait, since this was last checked.
    overflowed: bool,
    /// The time at which the thread stops; set at the end of the run.
    end: Option<Instant>,
    /// Whether the thread has finished.
    done: bool,
    /// Whether the run no longer waits for the thread, so that its counts are final.
    is_final: bool,
}

/// The next task of the thread.
enum Task {
    Deliver(Box<IncidentEvent>),
    Repeat,
}

/// What a receiver has done since the last check.
pub(super) struct Status {
    pub(super) away: Option<String>,
    pub(super) refused: Option<String>,
    pub(super) overflowed: bool,
    pub(super) sent: u64,
    pub(super) lost: u64,
}

impl Courier {
    /// Starts the thread.
    pub(super) fn begin(
        receiver: impl Receive + 'static,
        sender: Sender,
        pace: Pace,
        shown: &Arc<Account>,
    ) -> io::Result<Self> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { state, changed, shown: Arc::clone(shown) });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("alarms".to_owned()).spawn(move || {
            // The thread only writes to sockets, so it also works if capabilities cannot be dropped.
            let _ = capabilities::keep(CapabilitySet::empty());
            of_thread.work(receiver, &sender);
        })?;
        Ok(Self { shared, pace })
    }

    /// Queues an event, or counts it as lost. A run over files waits for room while the receiver accepts events.
    pub(super) fn take(&self, event: IncidentEvent) {
        let mut state = self.shared.lock();
        while self.pace == Pace::Offline && !state.has_room(&event) && state.away.is_none() && !state.done {
            state = self.shared.wait(state, LIMIT);
        }
        state.take(event);
        self.shared.show(&state);
        self.shared.changed.notify_all();
    }

    /// Gives the thread a limited time to deliver waiting events. The remaining ones are lost.
    pub(super) fn finish(&self) {
        let last = if self.pace == Pace::Live { LAST_LIVE } else { LAST_OFFLINE };
        let end = Instant::now() + last;
        let mut state = self.shared.lock();
        state.end = Some(end);
        self.shared.changed.notify_all();
        while !state.done && Instant::now() < end {
            state = self.shared.wait(state, end.saturating_duration_since(Instant::now()));
        }
        state.lost += state.waiting.len() as u64;
        state.waiting.clear();
        state.is_final = true;
        self.shared.show(&state);
    }

    /// What has happened since the last call.
    pub(super) fn status(&self) -> Status {
        let mut state = self.shared.lock();
        Status {
            away: state.away.clone(),
            refused: state.refused.take(),
            overflowed: std::mem::take(&mut state.overflowed),
            sent: state.sent,
            lost: state.lost,
        }
    }
}

impl Delivering {
    fn has_room(&self, (state, incident, _): &IncidentEvent) -> bool {
        self.waiting.len() < WAITING || *state == State::Closed && self.opened.contains(&incident.number)
    }

    fn take(&mut self, event: IncidentEvent) {
        if !self.has_room(&event) {
            self.lost += 1;
            self.overflowed = true;
            return;
        }
        match event.0 {
            State::Open => drop(self.opened.insert(event.1.number)),
            State::Closed => drop(self.opened.remove(&event.1.number)),
            State::Named => {}
        }
        self.waiting.push_back(event);
    }

    /// Whether the thread has nothing more to do.
    fn is_over(&self, hurries: bool) -> bool {
        self.end.is_some_and(|end| self.waiting.is_empty() || hurries || end <= Instant::now())
    }

    /// The time limit of the next delivery.
    fn limit(&self) -> Duration {
        self.end.map_or(LIMIT, |end| end.saturating_duration_since(Instant::now()).min(LIMIT))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Delivering> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, Delivering>, limit: Duration) -> MutexGuard<'a, Delivering> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    fn show(&self, state: &Delivering) {
        self.shown.set(state.sent, state.lost);
    }

    /// The thread's work: delivers the events until the run ends.
    fn work(&self, mut receiver: impl Receive, sender: &Sender) {
        let every = receiver.repeats_every();
        let mut due = every.map(|every| Instant::now() + every);
        let mut backoff: Option<Backoff> = None;
        while let Some((task, limit)) = self.next(due) {
            let outcome = self.shown.wait_in(|| match &task {
                Task::Deliver(event) => {
                    let (state, incident, clock) = &**event;
                    receiver.deliver(&Event { state: *state, incident, clock: *clock, sender }, limit)
                }
                Task::Repeat => receiver.repeat(limit),
            });
            if !self.account(&task, outcome) {
                if !self.pause(backoff.get_or_insert_with(|| Backoff::begin(Instant::now()))) {
                    break;
                }
                continue;
            }
            let was_away = backoff.take().is_some();
            if matches!(task, Task::Repeat) {
                due = every.map(|every| Instant::now() + every);
            } else if was_away {
                // A receiver that was away may have forgotten what it knew.
                due = every.map(|_| Instant::now());
            }
        }
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// The next task and its time limit, when there is one. `None` at the end of the run.
    fn next(&self, due: Option<Instant>) -> Option<(Task, Duration)> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.is_over(self.shown.hurries()) {
                return None;
            }
            if let Some(event) = state.waiting.front() {
                return Some((Task::Deliver(Box::new(event.clone())), state.limit()));
            }
            if due.is_some_and(|due| due <= now) {
                return Some((Task::Repeat, state.limit()));
            }
            state = self.wait(state, due.map_or(LONG, |due| due.saturating_duration_since(now)));
        }
    }

    /// Counts the outcome of a task. Returns whether the receiver can be reached.
    fn account(&self, task: &Task, outcome: Result<(), Failure>) -> bool {
        let mut state = self.lock();
        if state.is_final {
            return true;
        }
        let is_event = matches!(task, Task::Deliver(_));
        state.away = match &outcome {
            Err(Failure::Later(why)) => Some(why.clone()),
            _ => None,
        };
        let is_reached = state.away.is_none();
        match outcome {
            Ok(()) => state.sent += u64::from(is_event),
            Err(Failure::Refused(why)) => {
                state.lost += u64::from(is_event);
                state.refused = Some(why);
            }
            Err(Failure::Later(_)) => {}
        }
        if is_reached && is_event {
            state.waiting.pop_front();
        }
        self.show(&state);
        self.changed.notify_all();
        is_reached
    }

    /// Waits until the next attempt is due or the run ends, which allows one more attempt. Returns false if the attempt
    /// that has failed was made at the end of the run.
    fn pause(&self, backoff: &mut Backoff) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        while state.end.is_none() && !backoff.is_due(Instant::now()) {
            let left = backoff.again().saturating_duration_since(Instant::now());
            state = self.wait(state, left);
        }
        true
    }
}
