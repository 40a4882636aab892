//! Sessions: the partial flows of a flow, joined over drains until the flow ends.

mod beginning;
mod connection;
mod contents;
mod index;
mod initiator;
mod memory;
#[cfg(test)]
pub(crate) mod samples;
mod saved;
mod services;
#[cfg(test)]
mod tests;
mod timers;

use std::time::Duration;

use flowml_common::content::{Contents as PartContents, PayloadLimit};
use flowml_common::counts::Counted;
use flowml_common::flow::{Address, FlowKey, FlowStats, Opening, Part, Sender};
use flowml_common::quote::Quote;
use flowml_common::table::Count;
use flowml_common::time::Boundaries;
use serde::{Deserialize, Serialize};

pub use beginning::{BeginWindows, HostCounts, SlowCounts};
use connection::Connection;
pub use contents::Contents;
use index::Index;
use initiator::Known;
pub(crate) use initiator::informed;
pub use initiator::{Evidence, Initiator, InitiatorRule};
use memory::Memory;
pub use saved::Left;
use timers::Timers;

use crate::process::prefetch::prefetch;

/// Why a record ended, with the numbers of IPFIX's `flowEndReason` (IE 136).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EndReason {
    /// There was no packet for the idle timeout.
    IdleTimeout = 1,
    /// The record was open for the active timeout. The session continues in another record.
    ActiveTimeout = 2,
    /// FIN from both sides, RST, or another connection on the same ports.
    EndOfFlow = 3,
    /// The agent stopped.
    ForcedEnd = 4,
    /// There were too many open sessions.
    LackOfResources = 5,
}

impl EndReason {
    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdleTimeout => "idle_timeout",
            Self::ActiveTimeout => "active_timeout",
            Self::EndOfFlow => "end_of_flow",
            Self::ForcedEnd => "forced_end",
            Self::LackOfResources => "lack_of_resources",
        }
    }

    const ALL: [Self; 5] =
        [Self::IdleTimeout, Self::ActiveTimeout, Self::EndOfFlow, Self::ForcedEnd, Self::LackOfResources];

    /// The reason with this name in records.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// When sessions and records end, and how the initiator is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The idle timeout: a session ends after this time without a packet.
    pub idle: Duration,
    /// The active timeout: a record ends after this time, and the session continues in another.
    pub active: Duration,
    /// Whether TCP flags end a session: FIN from both sides, RST, or a SYN that opens another connection.
    pub end_by_flags: bool,
    /// The smallest number of slots in an active timeout. A record that reaches the active timeout ends at the start of
    /// the next slot, which does not depend on when the flow table is drained.
    pub active_slots: u32,
    /// The rule for the initiator.
    pub initiator: InitiatorRule,
}

impl Timeouts {
    /// The boundaries at which an entry of the flow table ends: wherever a session or a record may end.
    #[must_use]
    pub fn boundaries(&self) -> Boundaries {
        Boundaries::new(self.idle.min(Duration::from_nanos(LINGER_NS)), self.active / self.active_slots)
    }

    /// The latest end of a record that ended for this reason, in ms, from the times of its first and last packet in ms
    /// of the same clock. `None` if the agent ended it.
    #[must_use]
    pub fn over_ms(&self, reason: EndReason, first_ms: f64, last_ms: f64) -> Option<f64> {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        match reason {
            EndReason::IdleTimeout => Some(last_ms + ms(self.idle)),
            EndReason::ActiveTimeout => Some(first_ms + ms(self.active) + ms(self.boundaries().slot())),
            EndReason::EndOfFlow => Some(last_ms + ms(Duration::from_nanos(LINGER_NS))),
            EndReason::ForcedEnd | EndReason::LackOfResources => None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15),
            active: Duration::from_secs(120),
            end_by_flags: true,
            active_slots: 16,
            initiator: InitiatorRule::Evidence,
        }
    }
}

/// Time without packets after FIN or RST before the session ends, in ns. Late acknowledgements and retransmitted FINs
/// therefore belong to the session and are not a flow of their own.
const LINGER_NS: u64 = 2_000_000_000;

/// The default number of open sessions ([`bytes_of_one`]).
pub const DEFAULT_CAPACITY: usize = 1 << 20;

/// The largest size of index and timers for one session, in bytes. Hash tables and vectors are at least half full.
const INDEX: usize = 3 * Index::BYTES_OF_ONE + 4 * size_of::<u32>();

/// Memory of one session, in bytes: about 1 KiB, and the kept payload of both directions.
#[must_use]
pub fn bytes_of_one(payload: Option<PayloadLimit>) -> usize {
    let contents = payload.map_or(0, |limit| size_of::<Contents>() + 2 * limit.bytes() as usize);
    size_of::<Option<Session>>() + INDEX + contents
}

/// How many flows ahead counts are loaded from memory, and then sessions. A load takes about as long as processing one
/// flow; a few are started at the same time.
const FLOW_AHEAD: usize = 8;
const SESSION_AHEAD: usize = 4;

/// Number of slots that are searched for a session of one packet if there are too many sessions.
const LOOKS: usize = 64;

/// A complete record, and its session's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// The key of the flow.
    pub key: FlowKey,
    /// The statistics.
    pub stats: FlowStats,
    /// The first payload bytes of the session, if they are kept.
    pub contents: Option<Box<Contents>>,
    /// The activity of the hosts when the record started. `None` if the interval of its start was cut short.
    pub windows: Option<BeginWindows>,
    /// The initiator of the session by all evidence. A record that continues another keeps its initiator, whoever sends
    /// first in it, unless its own packets have stronger evidence.
    pub initiator: Initiator,
    /// Why the record is complete.
    pub reason: EndReason,
    /// Whether an earlier record of the same session ended by the active timeout.
    pub continues: bool,
}

impl Ended {
    /// Number of packets and frame bytes.
    #[must_use]
    pub const fn counted(&self) -> Count {
        Count { packets: self.stats.packets(), bytes: self.stats.frame_bytes() }
    }

    /// Whether it is one packet, of a session without an earlier record.
    #[must_use]
    pub const fn is_slight(&self) -> bool {
        self.stats.packets() == 1 && !self.continues
    }
}

/// The state of a session after it absorbed a partial flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the session starts with this partial flow.
    pub new: bool,
    /// The initiator by the evidence so far. The record has the same, unless later evidence is stronger.
    pub initiator: Sender,
    /// Whether the other side has ever sent a packet.
    pub answered: bool,
    /// For ICMP errors, whether they are about packets to their sender, and not to a host behind it.
    pub about_sender: bool,
}

/// Whether an absorbed partial flow is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is in a session.
    InSession,
    /// It is in none.
    Not,
}

impl Standing {
    /// The addresses of both endpoints, the initiator's first.
    pub(crate) fn addresses(&self, key: &FlowKey) -> [Address; 2] {
        [self.initiator, self.initiator.opposite()].map(|end| key.endpoint(end).address)
    }
}

/// The open record of a session.
#[derive(Serialize, Deserialize)]
enum Record {
    /// The first record of the session.
    First(FlowStats),
    /// A record after an active timeout. It has no statistics until a packet comes.
    Further(Option<FlowStats>),
}

#[derive(Serialize, Deserialize)]
struct Session {
    key: FlowKey,
    record: Record,
    known: Known,
    /// Whether each sender has ever sent a packet.
    sent: [bool; 2],
    connection: Connection,
    contents: Option<Box<Contents>>,
    /// The host windows of the open record.
    windows: Option<BeginWindows>,
    last_ns: u64,
    /// The tick of the session in the timers.
    due: u64,
}

/// The place of a drained flow in the order of first packets.
struct Place {
    first_ns: u64,
    number: u32,
    /// In the index of sessions.
    hash: u32,
}

/// All open sessions. Times are in ns of the capture's clock.
pub struct Sessions {
    rules: Rules,
    capacity: usize,
    /// The approximate number of sessions that one [`Self::expire`] ends.
    most_at_once: usize,
    /// Whether a flow of which one packet is known gets a session.
    keeps_slight: bool,
    /// Sessions and flows without room since the last [`Self::take_overflow`].
    overflow: Overflow,
    /// Number of slots that [`Self::flush`] has processed.
    flushed: usize,
    /// The slot at which the next search for a session of one packet starts.
    hand: usize,
    /// The place in `slots` of each flow's session.
    index: Index,
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    /// A packet does not move its session in the timers. A session that has not ended at its tick is put under a later
    /// tick. So it is checked about once in an idle timeout, however many drains there are.
    timers: Timers,
    /// The initiators of sessions that ended by the idle timeout or for lack of room.
    silent: Memory,
    /// The initiators of sessions that TCP ended. Separate, so that many short connections do not displace the others.
    closed: Memory,
    /// The latest known time, of a packet or of the clock.
    latest_ns: u64,
    /// The sessions whose records have started since host windows were last set.
    begun: Vec<u32>,
    ended: Vec<Ended>,
    /// The sessions that [`Self::save`] had no time for.
    unsaved: std::vec::IntoIter<u32>,
}

/// Numbers of sessions and flows for which there was no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// Number of sessions that ended early to make room for others.
    pub displaced: u64,
    /// Number of flows of one packet that got no session ([`Sessions::set_keeps_slight`]).
    pub passed_by: u64,
}

/// The [`Timeouts`] in ns.
struct Rules {
    idle_ns: u64,
    active_ns: u64,
    boundaries: Boundaries,
    end_by_flags: bool,
    initiator: InitiatorRule,
}

impl Rules {
    /// When and why the session or its record ends if no packet comes.
    fn deadline(&self, session: &Session) -> (u64, EndReason) {
        let idle = (session.last_ns.saturating_add(self.idle_ns), EndReason::IdleTimeout);
        let active = session.record.stats().map_or(idle, |stats| {
            let active_ns = stats.first_ns().saturating_add(self.active_ns);
            (self.boundaries.slot_from(active_ns), EndReason::ActiveTimeout)
        });
        let end = if self.end_by_flags && session.connection.is_closed() {
            (session.last_ns.saturating_add(LINGER_NS), EndReason::EndOfFlow)
        } else {
            idle
        };
        // At equal times an end of the session comes before an end of the record, and flags come before the idle
        // timeout.
        [end, idle, active].into_iter().min_by_key(|(at_ns, _)| *at_ns).unwrap_or(idle)
    }

    /// The reason why `part` cannot belong to the open record. `None` if it can.
    fn ends_before(&self, session: &Session, part: &FlowStats) -> Option<EndReason> {
        let (deadline_ns, reason) = self.deadline(session);
        if deadline_ns <= part.first_ns() {
            return Some(reason);
        }
        (self.end_by_flags && session.connection.is_followed_by(part)).then_some(EndReason::EndOfFlow)
    }
}

/// The index of a flag in the counters.
const fn bit(flag: u8) -> usize {
    flag.trailing_zeros() as usize
}

impl Record {
    fn stats(&self) -> Option<&FlowStats> {
        match self {
            Self::First(stats) => Some(stats),
            Self::Further(stats) => stats.as_ref(),
        }
    }

    fn absorb(&mut self, part: &FlowStats) {
        match self {
            Self::First(stats) | Self::Further(Some(stats)) => stats.follow(part),
            Self::Further(none) => *none = Some(*part),
        }
    }
}

impl Session {
    /// Whether the session consists of one packet.
    fn is_slight(&self) -> bool {
        matches!(&self.record, Record::First(stats) if stats.packets() == 1)
    }

    /// The initiator, by the open record. `None` for a further record without packets.
    fn initiator(&self, rule: InitiatorRule) -> Option<Initiator> {
        let stats = self.record.stats()?;
        Some(match rule {
            InitiatorRule::Evidence => Initiator::known(&self.key, stats, self.known),
            InitiatorRule::FirstPacket => Initiator::first(stats),
        })
    }

    /// The state after the absorbed partial flow `part`.
    fn standing(&mut self, part: &FlowStats, rule: InitiatorRule, new: bool) -> Standing {
        for (sent, direction) in self.sent.iter_mut().zip(&part.directions) {
            *sent |= direction.packets > 0;
        }
        let initiator = self.initiator(rule).unwrap_or_else(|| Initiator::first(part)).sender;
        Standing { new, initiator, answered: self.sent[initiator.opposite() as usize], about_sender: false }
    }
}

impl Sessions {
    /// An empty set of sessions.
    #[must_use]
    pub fn new(timeouts: Timeouts) -> Self {
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            rules: Rules {
                idle_ns: ns(timeouts.idle),
                active_ns: ns(timeouts.active),
                boundaries: timeouts.boundaries(),
                end_by_flags: timeouts.end_by_flags,
                initiator: timeouts.initiator,
            },
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
            silent: Memory::default(),
            closed: Memory::default(),
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
    pub fn with_most_at_once(mut self, sessions: usize) -> Self {
        self.most_at_once = sessions.max(1);
        self
    }

    /// Sets whether a flow of which one packet is known gets a session. If it gets none, it is in no record, and the
    /// observer receives it with [`Kept::Not`].
    pub const fn set_keeps_slight(&mut self, keeps: bool) {
        self.keeps_slight = keeps;
    }

    /// Returns and resets the numbers of sessions and flows without room.
    pub fn take_overflow(&mut self) -> Overflow {
        std::mem::take(&mut self.overflow)
    }

    /// Removes and returns the records that ended since the last [`Self::expire`] and consist of one packet, of a
    /// session without an earlier record.
    pub fn take_slight(&mut self) -> impl Iterator<Item = Ended> {
        self.ended.extract_if(.., |ended| ended.is_slight())
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

    /// Absorbs all partial flows of one drain, from all CPUs. `observe` receives each of them with the state of its
    /// session.
    ///
    /// They are absorbed in the order of their first packets. If the partial flows of a flow do not overlap, its
    /// statistics are those that one CPU would have counted.
    pub fn absorb_drain<'a>(
        &mut self,
        flows: impl IntoIterator<Item = Counted<'a>>,
        mut observe: impl FnMut(&Part, Standing),
    ) {
        self.absorb_or_pass_by(flows, |part, standing, _| observe(part, standing));
    }

    /// As [`Self::absorb_drain`]. `observe` also receives whether the partial flow is in a session.
    pub fn absorb_or_pass_by<'a>(
        &mut self,
        flows: impl IntoIterator<Item = Counted<'a>>,
        mut observe: impl FnMut(&Part, Standing, Kept),
    ) {
        let flows: Vec<_> = flows.into_iter().collect();
        let mut order: Vec<_> = (0..)
            .zip(&flows)
            .map(|(number, flow)| Place { first_ns: flow.first_ns(), number, hash: self.index.hash(flow.key) })
            .collect();
        // At equal times the order is that of the keys, so that it does not depend on the secret of the hash. Within a
        // flow it is the order of the entries. Keys are compared only at equal times, as they are far away in memory.
        let place = |number: u32| (flows[number as usize].key, flows[number as usize].birth());
        order.sort_unstable_by(|one, other| {
            one.first_ns.cmp(&other.first_ns).then_with(|| place(one.number).cmp(&place(other.number)))
        });
        for (at, &Place { number, hash, .. }) in order.iter().enumerate() {
            self.prefetch(&flows, order.get(at + FLOW_AHEAD), order.get(at + SESSION_AHEAD));
            let flow = flows[number as usize];
            let part = flow.part();
            let (standing, kept) = self.absorb_part(hash, &part.key, &part.stats, flow.contents(), flow.quote());
            observe(&part, standing, kept);
        }
    }

    /// Absorbs a partial flow without kept payload.
    pub fn absorb(&mut self, key: &FlowKey, part: &FlowStats) -> Standing {
        self.absorb_part(self.index.hash(key), key, part, None, None).0
    }

    /// Starts to load the counts of a flow that comes later, and the session of one that comes soon.
    fn prefetch(&self, flows: &[Counted<'_>], later: Option<&Place>, soon: Option<&Place>) {
        if let Some(flow) = later.map(|later| &flows[later.number as usize]) {
            prefetch(flow.counts);
            prefetch(flow.cold);
        }
        if let Some(slot) = soon.and_then(|soon| self.index.likely(soon.hash)).and_then(|n| self.slots.get(n as usize))
        {
            prefetch(slot);
        }
    }

    fn absorb_part(
        &mut self,
        hash: u32,
        key: &FlowKey,
        part: &FlowStats,
        contents: Option<PartContents<'_>>,
        quote: Option<Quote>,
    ) -> (Standing, Kept) {
        self.latest_ns = self.latest_ns.max(part.last_ns);
        // After the active timeout the session may have ended too.
        while let Some(number) = self.find(hash, key)
            && let Some(reason) = self.slot(number).and_then(|session| self.rules.ends_before(session, part))
        {
            self.end(number, reason);
        }
        let known = self.find(hash, key);
        let informed = informed(key, part);
        let quoted = informed.map(|informed| self.quoted(key, informed, quote));
        let mut kept = Kept::InSession;
        let standing = match known.and_then(|number| self.join(number, part, contents, quoted)) {
            Some(standing) => standing,
            None if !self.keeps_slight && part.packets() == 1 => {
                kept = Kept::Not;
                self.pass_by(key, part, quoted)
            }
            None => self.open(hash, key, part, contents, quoted),
        };
        let error = informed.zip(quote);
        let about_sender = error.is_some_and(|(informed, quote)| quote.is_to(key, informed.opposite()));
        (Standing { about_sender, ..standing }, kept)
    }

    /// Sets the host windows of the records that have started since the last call. `of` returns the windows for the
    /// counts so far. Must be called at the end of each interval, before [`Self::expire`].
    pub fn set_windows(&mut self, of: impl Fn(&Part, Standing) -> BeginWindows) {
        for number in self.begun.drain(..) {
            if let Some(session) = &mut self.slots[number as usize] {
                session.set_windows(self.rules.initiator, &of);
            }
        }
        self.ended.iter_mut().for_each(|ended| ended.set_windows(&of));
    }

    /// Ends the sessions and records that are over at `now_ns`, and returns the records that are complete since the
    /// last call. With [`Self::with_most_at_once`] there may be more: call it until it returns none.
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
        std::mem::take(&mut self.ended)
    }

    /// The time before which [`expire`](Self::expire) would find nothing, in ns.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.timers.earliest_ns()
    }

    /// Ends all sessions, because the agent stops. Those that are already over get their own reason. As with
    /// [`Self::expire`], there may be more: call it until it returns none.
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
            self.silent.clear();
            self.closed.clear();
            (self.latest_ns, self.flushed) = (0, 0);
        }
        std::mem::take(&mut self.ended)
    }

    /// The number of the session with this key, whose hash is given.
    fn find(&self, hash: u32, key: &FlowKey) -> Option<u32> {
        self.index.find(hash, |number| self.slot(number).is_some_and(|session| session.key == *key))
    }

    fn slot(&self, number: u32) -> Option<&Session> {
        self.slots.get(number as usize)?.as_ref()
    }

    fn join(
        &mut self,
        number: u32,
        part: &FlowStats,
        contents: Option<PartContents<'_>>,
        quoted: Option<Sender>,
    ) -> Option<Standing> {
        let session = self.slots.get_mut(number as usize)?.as_mut()?;
        session.known.quoted = session.known.quoted.or(quoted);
        if let Some(contents) = contents {
            let own = session.contents.get_or_insert_default();
            own.follow(session.record.stats(), part, contents);
        }
        if session.record.stats().is_none() {
            self.begun.push(number);
        }
        session.record.absorb(part);
        session.connection.absorb(part);
        session.last_ns = session.last_ns.max(part.last_ns);
        // The end of a connection makes the end of the session earlier. So does the first partial flow of a further
        // record.
        let (deadline_ns, _) = self.rules.deadline(session);
        if Timers::tick(deadline_ns) < session.due {
            session.due = self.timers.schedule(number, deadline_ns);
        }
        Some(session.standing(part, self.rules.initiator, false))
    }

    fn open(
        &mut self,
        hash: u32,
        key: &FlowKey,
        part: &FlowStats,
        contents: Option<PartContents<'_>>,
        quoted: Option<Sender>,
    ) -> Standing {
        self.make_room();
        let contents = contents.map(|contents| Box::new(Contents::of(contents)));
        let mut connection = Connection::default();
        connection.absorb(part);
        let mut session = Session {
            key: *key,
            record: Record::First(*part),
            known: Known { earlier: self.earlier(key, part), quoted },
            sent: [false; 2],
            connection,
            contents,
            windows: None,
            last_ns: part.last_ns,
            due: 0,
        };
        let number = self.free.pop().unwrap_or(self.slots.len() as u32);
        session.due = self.timers.schedule(number, self.rules.deadline(&session).0);
        let standing = session.standing(part, self.rules.initiator, true);
        match self.slots.get_mut(number as usize) {
            Some(slot) => *slot = Some(session),
            None => self.slots.push(Some(session)),
        }
        self.index.insert(hash, number);
        self.begun.push(number);
        standing
    }

    /// The state of a flow of one packet that gets no session. Earlier sessions with this key are not considered.
    fn pass_by(&mut self, key: &FlowKey, part: &FlowStats, quoted: Option<Sender>) -> Standing {
        self.overflow.passed_by += 1;
        let initiator = match self.rules.initiator {
            InitiatorRule::Evidence => Initiator::known(key, part, Known { earlier: None, quoted }),
            InitiatorRule::FirstPacket => Initiator::first(part),
        };
        let answered = part.direction(initiator.sender.opposite()).packets > 0;
        Standing { new: true, initiator: initiator.sender, answered, about_sender: false }
    }

    /// The initiator of the session that a session starting with `part` continues. `None` if a SYN opens a connection.
    fn earlier(&mut self, key: &FlowKey, part: &FlowStats) -> Option<Sender> {
        // An opening is the first packet of its partial flow, however later packets are divided into partial flows.
        let opens = part.directions.iter().any(|direction| matches!(direction.opening, Some(Opening::Syn(_))));
        let (silent, closed) = (self.silent.take(key), self.closed.take(key));
        silent.or(closed).filter(|_| !opens)
    }

    /// The endpoint of an ICMP error that opened the quoted flow: from its session if it is open, else from the quote.
    /// Without a quote it is the informed host, which sent the packet that caused the error.
    fn quoted(&self, key: &FlowKey, informed: Sender, quote: Option<Quote>) -> Sender {
        let Some(quote) = quote else { return informed };
        let (flow, informed_there) = quote.flow(key, informed);
        let session = self.find(self.index.hash(&flow), &flow).and_then(|number| self.slot(number));
        let first_sender = session.and_then(|session| {
            session.initiator(InitiatorRule::Evidence).map(|found| found.sender).or(session.known.earlier)
        });
        let informed_opened = first_sender.map(|first_sender| first_sender == informed_there);
        if informed_opened.unwrap_or_else(|| initiator::informed_opened(&quote)) {
            informed
        } else {
            informed.opposite()
        }
    }

    fn make_room(&mut self) {
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

    fn reschedule(&mut self, number: u32) {
        if let Some(session) = &mut self.slots[number as usize] {
            session.due = self.timers.schedule(number, self.rules.deadline(session).0);
        }
    }

    /// Ends the open record and returns it if it has packets. The session continues only after an active timeout.
    fn end(&mut self, number: u32, reason: EndReason) {
        let Some(session) = &mut self.slots[number as usize] else { return };
        let initiator = session.initiator(self.rules.initiator);
        let first_sender = initiator.map(|found| found.sender).or(session.known.earlier);
        session.known.earlier = first_sender;
        let ended = std::mem::replace(&mut session.record, Record::Further(None));
        let (stats, continues) = match ended {
            Record::First(stats) => (Some(stats), false),
            Record::Further(stats) => (stats, true),
        };
        if let Some((stats, initiator)) = stats.zip(initiator) {
            let contents =
                if reason == EndReason::ActiveTimeout { session.contents.clone() } else { session.contents.take() };
            let windows = session.windows.take();
            self.ended.push(Ended { key: session.key, stats, contents, windows, initiator, reason, continues });
        }
        let memory = match reason {
            EndReason::IdleTimeout | EndReason::LackOfResources => Some(&mut self.silent),
            EndReason::EndOfFlow => Some(&mut self.closed),
            EndReason::ActiveTimeout | EndReason::ForcedEnd => None,
        };
        if let Some((memory, first_sender)) = memory.zip(first_sender) {
            memory.keep(session.key, first_sender);
        }
        if reason == EndReason::ActiveTimeout {
            self.reschedule(number);
        } else {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u32) {
        if let Some(session) = self.slots[number as usize].take() {
            self.index.remove(self.index.hash(&session.key), number);
            self.free.push(number);
        }
    }
}
