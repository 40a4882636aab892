//! Delivers events on its own thread, in their order, and keeps them while the receiver is away.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::account::Account;
use super::super::backoff::Backoff;
use super::super::batch::IncidentEvent;
use super::super::origin::Origin;
use super::super::pace::Pace;
use super::super::remote::{self, Failure};
use super::event::Event;
use super::receive::Receive;
use crate::incident::State;
use crate::process::capabilities::{self, CapabilitySet};

/// The largest number of waiting events. The closing of an incident of which an earlier event was accepted waits in any
/// case, so that no receiver sees an incident as open for ever. At most 4,096 incidents are open at once.
pub(super) const WAITING: usize = 4096;

/// Time limit for delivering an event.
const LIMIT: Duration = Duration::from_secs(10);

/// Time for which the end of a live run waits until waiting events are delivered.
const LAST_LIVE: Duration = Duration::from_secs(1);

/// The rest of that time, once the end of the run is late.
const LAST_LATE: Duration = Duration::from_millis(400);

/// Time for which the end of a run over files waits until the next event is delivered.
const LAST_OFFLINE: Duration = Duration::from_secs(10);

/// Interval at which the end of a run checks whether it is late.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// Repetitions that are due wait for events, but at most for this time.
const REPEAT_WITHIN: Duration = Duration::from_secs(60);

/// The longest wait without a check.
const LONG: Duration = Duration::from_secs(60);

/// The thread that delivers events to a receiver.
pub(super) struct Courier(Arc<Shared>);

/// The state shared by the output and the delivering thread.
struct Shared {
    state: Mutex<Delivering>,
    changed: Condvar,
    pace: Pace,
    /// The counts that other threads read, and how long the thread has waited for the receiver.
    shown: Arc<Account>,
}

#[derive(Default)]
struct Delivering {
    /// Events that are not delivered, in their order. The first may be on its way.
    waiting: VecDeque<IncidentEvent>,
    /// The incidents of which an event was accepted, and the closing was not yet.
    opened: HashSet<u64>,
    sent: u64,
    lost: u64,
    /// The number of deliveries and repetitions that the receiver accepted.
    accepted: u64,
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

/// The next attempt at a task.
struct Attempt {
    task: Task,
    limit: Duration,
    /// Whether the run ends, so that no attempt follows a failure.
    is_last: bool,
}

/// What a receiver has done since the last check.
pub(super) struct Status {
    pub(super) away: Option<String>,
    pub(super) refused: Option<String>,
    pub(super) overflowed: bool,
    /// The number of deliveries and repetitions that it accepted so far.
    pub(super) accepted: u64,
    pub(super) lost: u64,
}

impl Courier {
    /// Starts the thread. `away` is the reason why the receiver cannot be reached yet, if that is known.
    pub(super) fn begin(
        receiver: impl Receive + 'static,
        sender: Origin,
        pace: Pace,
        shown: &Arc<Account>,
        away: Option<String>,
    ) -> io::Result<Self> {
        let state = Mutex::new(Delivering { away, ..Default::default() });
        let changed = Condvar::new();
        let shared = Arc::new(Shared { state, changed, pace, shown: Arc::clone(shown) });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("alarms".to_owned()).spawn(move || {
            // The thread only writes to sockets, so it also works if capabilities cannot be dropped.
            let _ = capabilities::keep(CapabilitySet::empty());
            of_thread.work(receiver, &sender);
        })?;
        Ok(Self(shared))
    }

    /// Queues an event, or counts it as lost. A run over files waits for room while the receiver accepts events.
    pub(super) fn take(&self, event: IncidentEvent) {
        let mut state = self.0.lock();
        while self.0.pace == Pace::Offline && !state.has_room(&event) && state.away.is_none() && !state.done {
            state = self.0.wait(state, LIMIT);
        }
        state.take(event);
        self.0.show(&state);
        self.0.changed.notify_all();
    }

    /// Gives the thread a limited time to deliver waiting events. The remaining ones are lost.
    pub(super) fn finish(&self) {
        let last = if self.0.pace == Pace::Live { LAST_LIVE } else { LAST_OFFLINE };
        let mut state = self.0.lock();
        state.end = Some(Instant::now() + last);
        self.0.changed.notify_all();
        let mut is_late = false;
        while !state.done && !state.is_past_end() {
            if self.0.shown.hurries() && !is_late {
                is_late = true;
                state.end = state.end.min(Some(Instant::now() + LAST_LATE));
            }
            state = self.0.wait(state, CHECK_EVERY);
        }
        state.lost += state.waiting.len() as u64;
        state.waiting.clear();
        state.is_final = true;
        self.0.show(&state);
    }

    /// What has happened since the last call.
    pub(super) fn status(&self) -> Status {
        let mut state = self.0.lock();
        Status {
            away: state.away.clone(),
            refused: state.refused.take(),
            overflowed: std::mem::take(&mut state.overflowed),
            accepted: state.accepted,
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
            State::Open | State::Named => drop(self.opened.insert(event.1.number)),
            State::Closed => drop(self.opened.remove(&event.1.number)),
        }
        self.waiting.push_back(event);
    }

    /// Whether the thread has nothing more to do.
    fn is_over(&self) -> bool {
        self.end.is_some() && (self.waiting.is_empty() || self.is_past_end())
    }

    fn is_past_end(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
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
    fn work(&self, mut receiver: impl Receive, sender: &Origin) {
        let every = receiver.repeats_every();
        let mut due = every.map(|every| Instant::now() + every);
        let mut backoff: Option<Backoff> = None;
        while let Some(Attempt { task, limit, is_last }) = self.next(due) {
            let outcome = self.shown.wait_in(|| attempt(&mut receiver, sender, &task, limit));
            let is_repetition = matches!(task, Task::Repeat);
            if outcome == Ok(false) {
                due = every.map(|every| Instant::now() + every);
                continue;
            }
            let is_reached = self.account(&task, outcome);
            let was_away = is_reached && backoff.take().is_some();
            if is_repetition || was_away {
                // A receiver that was away may have forgotten what it knew.
                let pause = every.filter(|_| is_repetition && is_reached).unwrap_or_default();
                due = every.map(|_| Instant::now() + pause);
            }
            if !is_reached {
                if is_last {
                    break;
                }
                self.pause(backoff.get_or_insert_with(|| Backoff::begin(Instant::now())));
            }
        }
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// The next attempt, when there is one. `None` at the end of the run.
    fn next(&self, due: Option<Instant>) -> Option<Attempt> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if state.is_over() {
                return None;
            }
            let (limit, is_last) = (state.limit(), state.end.is_some());
            let is_due = |within: Duration| due.is_some_and(|due| due + within <= now);
            if state.waiting.is_empty() && is_due(Duration::ZERO) || !is_last && is_due(REPEAT_WITHIN) {
                return Some(Attempt { task: Task::Repeat, limit, is_last });
            }
            if let Some(event) = state.waiting.front() {
                return Some(Attempt { task: Task::Deliver(Box::new(event.clone())), limit, is_last });
            }
            state = self.wait(state, due.map_or(LONG, |due| due.saturating_duration_since(now)));
        }
    }

    /// Counts the outcome of a task. Returns whether the receiver can be reached.
    fn account(&self, task: &Task, outcome: Result<bool, Failure>) -> bool {
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
            Ok(_) => {
                state.accepted += 1;
                state.sent += u64::from(is_event);
            }
            Err(Failure::Refused(why)) => {
                state.lost += u64::from(is_event);
                state.refused = Some(why);
            }
            Err(Failure::Later(_)) => {}
        }
        if is_reached && is_event {
            state.waiting.pop_front();
            if self.pace == Pace::Offline {
                // A run over files can wait for a receiver that is slow and accepts events.
                state.end = state.end.map(|_| Instant::now() + LAST_OFFLINE);
            }
        }
        self.show(&state);
        self.changed.notify_all();
        is_reached
    }

    /// Waits until the next attempt is due or the run ends, which allows one more attempt.
    fn pause(&self, backoff: &mut Backoff) {
        let mut state = self.lock();
        while state.end.is_none() && !backoff.is_due(Instant::now()) {
            let left = backoff.again().saturating_duration_since(Instant::now());
            state = self.wait(state, left);
        }
    }
}

/// Makes an attempt at a task. `Ok(false)` if there is nothing to repeat.
fn attempt(receiver: &mut impl Receive, sender: &Origin, task: &Task, limit: Duration) -> Result<bool, Failure> {
    remote::attempt(|| match task {
        Task::Deliver(event) => {
            let (state, incident, clock) = &**event;
            receiver.deliver(&Event { state: *state, incident, clock: *clock, sender }, limit).map(|()| true)
        }
        Task::Repeat => receiver.repeat(limit),
    })
}
