//! Sessions: the parts of a flow, drained epoch by epoch, joined until the flow ends.

mod beginning;
mod connection;
mod contents;
mod initiator;
mod memory;
#[cfg(test)]
pub(crate) mod samples;
mod saved;
mod services;
#[cfg(test)]
mod tests;
mod timers;

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use flowml_common::content::{Contents as PartContents, PayloadLimit};
use flowml_common::counts::Counted;
use flowml_common::flow::{Address, FlowKey, FlowStats, Opening, Part};
use flowml_common::packet::Sender;
use flowml_common::quote::Quote;
use flowml_common::table::Count;
use flowml_common::time::Boundaries;
use serde::{Deserialize, Serialize};

pub use beginning::{BeginWindows, HostCounts, SlowCounts};
use connection::Connection;
pub use contents::Contents;
use initiator::Known;
pub(crate) use initiator::informed;
pub use initiator::{Evidence, Initiator, InitiatorRule};
use memory::Memory;
pub use saved::Left;
use timers::Timers;

/// Why a record ends: the numbers of IPFIX's `flowEndReason` (IE 136).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EndReason {
    /// No packet came for the idle timeout.
    IdleTimeout = 1,
    /// The record was open for the active timeout; the session goes on in a record that continues it.
    ActiveTimeout = 2,
    /// FIN from both sides, RST, or another connection on the same ports.
    EndOfFlow = 3,
    /// The agent stopped.
    ForcedEnd = 4,
    /// There were too many sessions at once.
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

    /// The one of this name in records.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// When a session ends, and by which rule its initiator is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Without a packet for so long, the session is over.
    pub idle: Duration,
    /// After so long a record is given out, and the session goes on in another.
    pub active: Duration,
    /// Whether a session ends by what TCP says: FIN from both sides, RST, or a SYN that opens another connection.
    pub end_by_flags: bool,
    /// Into at least how many slots the active timeout is divided. A record ends by it where the next slot begins, which
    /// does not depend on when the flow table is emptied.
    pub active_slots: u32,
    /// Who is said to have opened it.
    pub initiator: InitiatorRule,
}

impl Timeouts {
    /// Where an entry of the flow table has to end: wherever a session or a record might.
    #[must_use]
    pub fn boundaries(&self) -> Boundaries {
        Boundaries::new(self.idle.min(Duration::from_nanos(LINGER_NS)), self.active / self.active_slots)
    }

    /// By when a record was over that ended for this reason, given its first and its last packet, all in ms of one clock;
    /// none where that was up to the agent.
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

/// Quiet time after FIN or RST before the session ends, ns: late acknowledgements and retransmitted FINs belong to it
/// and are no flow of their own.
const LINGER_NS: u64 = 2_000_000_000;

/// Sessions that are kept at once unless told otherwise ([`bytes_of_one`]).
pub const DEFAULT_CAPACITY: usize = 1 << 20;

/// What the index and the timers take of a session at most, bytes: hash tables and vectors are at least half full.
const INDEX: usize = 3 * size_of::<(FlowKey, u32)>() + 4 * size_of::<u32>();

/// Memory of a session, bytes, where so much payload of a flow is kept: about a KiB, and the payload of both directions.
#[must_use]
pub fn bytes_of_one(payload: Option<PayloadLimit>) -> usize {
    let contents = payload.map_or(0, |limit| size_of::<Contents>() + 2 * limit.bytes() as usize);
    size_of::<Option<Session>>() + INDEX + contents
}

/// When there are too many sessions, so many places are looked at for one of a single packet.
const LOOKS: usize = 64;

/// A record's worth of a session, complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Which flow.
    pub key: FlowKey,
    /// What was counted.
    pub stats: FlowStats,
    /// The first payload bytes of the session, where they are kept.
    pub contents: Option<Box<Contents>>,
    /// What the hosts did when the record began; none where the interval in which it began was cut short.
    pub windows: Option<BeginWindows>,
    /// Who opened the session, by all that is known. A record that continues another keeps its initiator, whoever speaks
    /// first in it, unless there is stronger evidence in its own packets.
    pub initiator: Initiator,
    /// Why it is complete.
    pub reason: EndReason,
    /// Whether an earlier record of the same session ended by the active timeout.
    pub continues: bool,
}

impl Ended {
    /// Packets and frame bytes.
    #[must_use]
    pub const fn counted(&self) -> Count {
        Count { packets: self.stats.packets(), bytes: self.stats.frame_bytes() }
    }

    /// Whether it is one packet, of no session before.
    #[must_use]
    pub const fn is_slight(&self) -> bool {
        self.stats.packets() == 1 && !self.continues
    }
}

/// How a part stands in its session, once absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The session begins with this part.
    pub new: bool,
    /// Who opened the session, by all that is known so far: what the record says, unless stronger evidence comes later.
    pub initiator: Sender,
    /// Whether the other side has ever sent a packet.
    pub answered: bool,
    /// Of ICMP errors, whether they are about packets to who sends them, and not to a host behind it.
    pub about_sender: bool,
}

/// Where a part is that was absorbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a session.
    InSession,
    /// Nowhere.
    Not,
}

impl Standing {
    /// The addresses of both ends of the session, the initiator's first.
    pub(crate) fn addresses(&self, key: &FlowKey) -> [Address; 2] {
        [self.initiator, self.initiator.opposite()].map(|end| key.endpoint(end).address)
    }
}

/// The record in the making.
#[derive(Serialize, Deserialize)]
enum Record {
    /// The session's first.
    First(FlowStats),
    /// One after an active timeout; it has no statistics until a packet comes.
    Further(Option<FlowStats>),
}

#[derive(Serialize, Deserialize)]
struct Session {
    key: FlowKey,
    record: Record,
    known: Known,
    /// Who has ever sent a packet, by sender.
    sent: [bool; 2],
    connection: Connection,
    contents: Option<Box<Contents>>,
    /// Of the record in the making.
    windows: Option<BeginWindows>,
    last_ns: u64,
    /// The tick under which the session stands in the timers.
    due: u64,
}

/// All open sessions. Times are ns of the capture's clock.
pub struct Sessions {
    rules: Rules,
    capacity: usize,
    /// [`Self::expire`] ends about so many at a time.
    most_at_once: usize,
    /// Whether a flow of which one packet is known gets a session.
    keeps_slight: bool,
    /// What there was no room for since it was last asked for.
    overflow: Overflow,
    /// So many places were gone through at the end of the run.
    flushed: usize,
    /// Where the search for a session of one packet goes on.
    hand: usize,
    /// Where each flow's session is in `slots`.
    numbers: HashMap<FlowKey, u32, RandomState>,
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    /// A packet does not move its session: a session that is not yet over when its tick comes is put under a later
    /// one, so it is looked at about once in an idle timeout, however many drains there are.
    timers: Timers,
    /// Who opened the sessions that silence or lack of room ended.
    silent: Memory,
    /// Who opened the sessions that TCP ended. They are apart, so that many short connections do not displace the others.
    closed: Memory,
    /// The latest time that is known, of a packet or of the clock.
    latest_ns: u64,
    /// The sessions whose records have begun since windows were last set.
    begun: Vec<u32>,
    ended: Vec<Ended>,
}

/// Sessions for which there was no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflow {
    /// Those that ended early so that others could begin.
    pub displaced: u64,
    /// Flows of one packet that got none ([`Sessions::set_keeps_slight`]).
    pub passed_by: u64,
}

/// [`Timeouts`] in the unit of the clock.
struct Rules {
    idle_ns: u64,
    active_ns: u64,
    boundaries: Boundaries,
    end_by_flags: bool,
    initiator: InitiatorRule,
}

impl Rules {
    /// When and why the session, or its record, is over unless a packet comes.
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
        // Of two at the same time the one that ends the session counts, and its flags before its silence.
        [end, idle, active].into_iter().min_by_key(|(at_ns, _)| *at_ns).unwrap_or(idle)
    }

    /// Whether `part` cannot belong to the record in the making, and why.
    fn ends_before(&self, session: &Session, part: &FlowStats) -> Option<EndReason> {
        let (deadline_ns, reason) = self.deadline(session);
        if deadline_ns <= part.first_ns() {
            return Some(reason);
        }
        (self.end_by_flags && session.connection.is_followed_by(part)).then_some(EndReason::EndOfFlow)
    }
}

/// Where a flag stands among the counters.
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
    /// Whether one packet is all that is known of it.
    fn is_slight(&self) -> bool {
        matches!(&self.record, Record::First(stats) if stats.packets() == 1)
    }

    /// Who opened it, by the record in the making; `None` of a further record without packets.
    fn initiator(&self, rule: InitiatorRule) -> Option<Initiator> {
        let stats = self.record.stats()?;
        Some(match rule {
            InitiatorRule::Evidence => Initiator::known(&self.key, stats, self.known),
            InitiatorRule::FirstPacket => Initiator::first(stats),
        })
    }

    /// How the part stands that was absorbed last.
    fn standing(&mut self, part: &FlowStats, rule: InitiatorRule, new: bool) -> Standing {
        for (sent, direction) in self.sent.iter_mut().zip(&part.directions) {
            *sent |= direction.packets > 0;
        }
        let initiator = self.initiator(rule).unwrap_or_else(|| Initiator::first(part)).sender;
        Standing { new, initiator, answered: self.sent[initiator.opposite() as usize], about_sender: false }
    }
}

impl Sessions {
    /// No sessions.
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
            numbers: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            timers: Timers::default(),
            silent: Memory::default(),
            closed: Memory::default(),
            latest_ns: 0,
            begun: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Keeps at most `capacity` sessions at once (at least one): those of one packet give way to new ones, the oldest first,
    /// and where there are hardly any, those nearest to their end.
    #[must_use]
    pub fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.clamp(1, u32::MAX as usize);
        self
    }

    /// Ends about so many sessions at a time, so that what is made of them takes a bounded amount of memory.
    #[must_use]
    pub fn with_most_at_once(mut self, sessions: usize) -> Self {
        self.most_at_once = sessions.max(1);
        self
    }

    /// Whether a flow of which one packet is known gets a session from now on. What becomes of the others is up to who observes
    /// them ([`Kept::Not`]): they are in no record of here.
    pub const fn set_keeps_slight(&mut self, keeps: bool) {
        self.keeps_slight = keeps;
    }

    /// What there was no room for since the last call.
    pub fn take_overflow(&mut self) -> Overflow {
        std::mem::take(&mut self.overflow)
    }

    /// Takes those that have ended since the last call of [`Self::expire`], of one packet and of no session before.
    pub fn take_slight(&mut self) -> impl Iterator<Item = Ended> {
        self.ended.extract_if(.., |ended| ended.is_slight())
    }

    /// How many sessions are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Absorbs all parts of one drain, whatever CPUs they come from, and shows each as it then stands to `observe`.
    ///
    /// They are taken in the order of their first packets: where the parts of a flow do not overlap, its statistics are
    /// those that one CPU would have counted.
    pub fn absorb_drain<'a>(
        &mut self,
        flows: impl IntoIterator<Item = Counted<'a>>,
        mut observe: impl FnMut(&Part, Standing),
    ) {
        self.absorb_or_pass_by(flows, |part, standing, _| observe(part, standing));
    }

    /// The same, and says which parts are in a session.
    pub fn absorb_or_pass_by<'a>(
        &mut self,
        flows: impl IntoIterator<Item = Counted<'a>>,
        mut observe: impl FnMut(&Part, Standing, Kept),
    ) {
        let mut flows: Vec<_> = flows.into_iter().map(|flow| (flow.first_ns(), flow)).collect();
        // Those of one time by their keys: the order must not come from the secret of the hash. Of a flow, as they came.
        flows.sort_by_key(|(first_ns, flow)| (*first_ns, *flow.key, flow.birth()));
        for (_, flow) in flows {
            let part = flow.part();
            let (standing, kept) = self.absorb_part(&part.key, &part.stats, flow.contents(), flow.quote());
            observe(&part, standing, kept);
        }
    }

    /// Absorbs one part, of which no payload was kept.
    pub fn absorb(&mut self, key: &FlowKey, part: &FlowStats) -> Standing {
        self.absorb_part(key, part, None, None).0
    }

    fn absorb_part(
        &mut self,
        key: &FlowKey,
        part: &FlowStats,
        contents: Option<PartContents<'_>>,
        quote: Option<Quote>,
    ) -> (Standing, Kept) {
        self.latest_ns = self.latest_ns.max(part.last_ns);
        // After the active timeout the session may be over as well.
        while let Some(&number) = self.numbers.get(key)
            && let Some(reason) = self.slot(number).and_then(|session| self.rules.ends_before(session, part))
        {
            self.end(number, reason);
        }
        let known = self.numbers.get(key).copied();
        let informed = informed(key, part);
        let quoted = informed.map(|informed| self.quoted(key, informed, quote));
        let mut kept = Kept::InSession;
        let standing = match known.and_then(|number| self.join(number, part, contents, quoted)) {
            Some(standing) => standing,
            None if !self.keeps_slight && part.packets() == 1 => {
                kept = Kept::Not;
                self.pass_by(key, part, quoted)
            }
            None => self.open(key, part, contents, quoted),
        };
        let error = informed.zip(quote);
        let about_sender = error.is_some_and(|(informed, quote)| quote.is_to(key, informed.opposite()));
        (Standing { about_sender, ..standing }, kept)
    }

    /// Gives the records that have begun since the last call what their hosts did meanwhile: `of` says it of what was counted
    /// so far. It is called at the end of each interval, before [`Self::expire`].
    pub fn set_windows(&mut self, of: impl Fn(&Part, Standing) -> BeginWindows) {
        for number in self.begun.drain(..) {
            if let Some(session) = &mut self.slots[number as usize] {
                session.set_windows(self.rules.initiator, &of);
            }
        }
        self.ended.iter_mut().for_each(|ended| ended.set_windows(&of));
    }

    /// Ends what is over at `now_ns`: the records that are complete since the last call. With
    /// [`Self::with_most_at_once`] there may be more, until none comes.
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

    /// Before when [`expire`](Self::expire) would find nothing, ns.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.timers.earliest_ns()
    }

    /// Ends all sessions, because the agent stops; those that are over, for their own reason. As with [`Self::expire`], there
    /// may be more, until none comes.
    #[must_use]
    pub fn flush(&mut self) -> Vec<Ended> {
        // Of all sessions none is looked up any more.
        self.numbers.clear();
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
        // The end of a connection brings that of the session nearer, and so does the first part of a further record.
        let (deadline_ns, _) = self.rules.deadline(session);
        if Timers::tick(deadline_ns) < session.due {
            session.due = self.timers.schedule(number, deadline_ns);
        }
        Some(session.standing(part, self.rules.initiator, false))
    }

    fn open(
        &mut self,
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
        self.numbers.insert(*key, number);
        self.begun.push(number);
        standing
    }

    /// How a flow of one packet stands that gets no session. What is known of sessions before it is not asked for.
    fn pass_by(&mut self, key: &FlowKey, part: &FlowStats, quoted: Option<Sender>) -> Standing {
        self.overflow.passed_by += 1;
        let initiator = match self.rules.initiator {
            InitiatorRule::Evidence => Initiator::known(key, part, Known { earlier: None, quoted }),
            InitiatorRule::FirstPacket => Initiator::first(part),
        };
        let answered = part.direction(initiator.sender.opposite()).packets > 0;
        Standing { new: true, initiator: initiator.sender, answered, about_sender: false }
    }

    /// Who opened the session that one beginning with `part` continues: none where a SYN opens another.
    fn earlier(&mut self, key: &FlowKey, part: &FlowStats) -> Option<Sender> {
        // An opening is the first packet of its part, however the packets behind it are divided into parts.
        let opens = part.directions.iter().any(|direction| matches!(direction.opening, Some(Opening::Syn(_))));
        let (silent, closed) = (self.silent.take(key), self.closed.take(key));
        silent.or(closed).filter(|_| !opens)
    }

    /// Which end of an ICMP error opened the flow that it quotes: as that session says where it is open, else by what is
    /// quoted. Without a quote it is the informed host, which has sent the packet that the error is about.
    fn quoted(&self, key: &FlowKey, informed: Sender, quote: Option<Quote>) -> Sender {
        let Some(quote) = quote else { return informed };
        let (flow, informed_there) = quote.flow(key, informed);
        let session = self.numbers.get(&flow).and_then(|number| self.slot(*number));
        let opener = session.and_then(|session| {
            session.initiator(InitiatorRule::Evidence).map(|found| found.sender).or(session.known.earlier)
        });
        let informed_opened = opener.map(|opener| opener == informed_there);
        if informed_opened.unwrap_or_else(|| initiator::informed_opened(&quote)) {
            informed
        } else {
            informed.opposite()
        }
    }

    fn make_room(&mut self) {
        while self.numbers.len() >= self.capacity {
            let Some(number) = self.find_slight().or_else(|| self.nearest_to_end()) else { return };
            self.overflow.displaced += 1;
            self.end(number, EndReason::LackOfResources);
        }
    }

    /// A session of one packet, if one is near. The search goes round over all places, and places are filled in that order: so
    /// it finds the oldest, as long as there are many.
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
            // Packets came since it was put there.
            self.reschedule(number);
        }
        None
    }

    /// Ends the session if its time has come, and else sees when to look again.
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

    /// Gives out the record in the making, if anything was counted. Only after an active timeout the session goes on.
    fn end(&mut self, number: u32, reason: EndReason) {
        let Some(session) = &mut self.slots[number as usize] else { return };
        let initiator = session.initiator(self.rules.initiator);
        let opener = initiator.map(|found| found.sender).or(session.known.earlier);
        session.known.earlier = opener;
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
        if let Some((memory, opener)) = memory.zip(opener) {
            memory.keep(session.key, opener);
        }
        if reason == EndReason::ActiveTimeout {
            self.reschedule(number);
        } else {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u32) {
        if let Some(session) = self.slots[number as usize].take() {
            self.numbers.remove(&session.key);
            self.free.push(number);
        }
    }
}
