//! Adding partial flows to the sessions of their flows.

use flowml_common::content::Contents as PartialContents;
use flowml_common::counts::Counted;
use flowml_common::flow::{FlowKey, FlowStats, Opening, PartialFlow, Sender};
use flowml_common::quote::Quote;
use flowml_common::tunnel::Outer;

use super::beginning::BeginWindows;
use super::connection::Connection;
use super::contents::Contents;
use super::ended::{Kept, Standing};
use super::initiator::{Initiator, InitiatorRule, Known, Signs, informed, informed_opened};
use super::open::{Record, Session};
use super::sessions::Sessions;
use super::statistics::Statistics;
use super::timers::Timers;
use crate::process::prefetch::prefetch;

/// Number of flows by which the loading of counts from memory is ahead. A load takes about as long as processing one
/// flow; a few are started at the same time.
const FLOW_AHEAD: usize = 8;

/// Number of flows by which the loading of sessions is ahead. The keys of their flows are already loaded then.
const SESSION_AHEAD: usize = 4;

/// The period in which a session notes the use of its hosts once, ns. It is less than half as long as the shortest
/// generation of a memory of hosts, so that no host in use is dropped.
const RENEWAL_NS: u64 = 120_000_000_000;

/// A drained flow, for the order of first packets.
struct Arrival {
    first_ns: u64,
    /// The position of the flow in the drain.
    number: u32,
    /// The hash of the flow's key in the index of sessions.
    hash: u32,
}

impl Sessions {
    /// Absorbs all partial flows of one drain, from all CPUs. `observe` receives each of them with the state of its
    /// session.
    ///
    /// They are absorbed in the order of their first packets. If the partial flows of a flow do not overlap, its
    /// statistics are those that one CPU would have counted.
    pub fn absorb_drain<'a>(
        &mut self,
        flows: impl IntoIterator<Item = Counted<'a>>,
        mut observe: impl FnMut(&PartialFlow, Standing),
    ) {
        self.absorb_or_pass_by(flows, |partial, standing, _| observe(partial, standing));
    }

    /// As [`Self::absorb_drain`]. `observe` also receives whether the partial flow is in a session.
    pub(crate) fn absorb_or_pass_by<'a>(
        &mut self,
        flows: impl IntoIterator<Item = Counted<'a>>,
        mut observe: impl FnMut(&PartialFlow, Standing, Kept),
    ) {
        let flows: Vec<_> = flows.into_iter().collect();
        let mut order: Vec<_> = (0..)
            .zip(&flows)
            .map(|(number, flow)| Arrival { first_ns: flow.first_ns(), number, hash: self.index.hash(flow.key) })
            .collect();
        // At equal times the order is that of the keys, so that it does not depend on the secret of the hash. Within a
        // flow it is the order of the entries. Keys are compared only at equal times, as they are far away in memory.
        let place = |number: u32| (flows[number as usize].key, flows[number as usize].birth());
        order.sort_unstable_by(|one, other| {
            one.first_ns.cmp(&other.first_ns).then_with(|| place(one.number).cmp(&place(other.number)))
        });
        for (at, &Arrival { number, hash, .. }) in order.iter().enumerate() {
            self.prefetch(&flows, order.get(at + FLOW_AHEAD), order.get(at + SESSION_AHEAD));
            let flow = flows[number as usize];
            let partial = flow.partial_flow();
            let (standing, kept) =
                self.absorb_partial(hash, &partial.key, &partial.stats, flow.contents(), flow.quote(), flow.tunnel());
            observe(&partial, standing, kept);
        }
    }

    /// Absorbs a partial flow without kept payload.
    pub fn absorb(&mut self, key: &FlowKey, partial: &FlowStats) -> Standing {
        self.absorb_partial(self.index.hash(key), key, partial, None, None, None).0
    }

    /// Starts to load the counts of a flow that comes later, and the session of one that comes soon.
    fn prefetch(&self, flows: &[Counted<'_>], later: Option<&Arrival>, soon: Option<&Arrival>) {
        if let Some(flow) = later.map(|later| &flows[later.number as usize]) {
            prefetch(flow.counts);
            prefetch(flow.cold);
        }
        if let Some(slot) = soon.and_then(|soon| self.index.likely(soon.hash)).and_then(|n| self.slots.get(n as usize))
        {
            prefetch(slot);
        }
    }

    /// Sets the host windows of the records that have started since the last call. `of` returns the windows for the
    /// counts so far. Must be called at the end of each interval, before [`Self::expire`].
    pub fn set_windows(&mut self, of: impl Fn(&FlowKey, &FlowStats, Standing) -> BeginWindows) {
        for (at, &number) in self.begun.iter().enumerate() {
            if let Some(soon) = self.begun.get(at + SESSION_AHEAD) {
                prefetch(&self.slots[*soon as usize]);
            }
            if let Some(session) = &mut self.slots[number as usize] {
                session.set_windows(self.rules.initiator, &of);
            }
        }
        self.begun.clear();
        self.ended.iter_mut().for_each(|ended| ended.set_windows(&of));
    }

    fn absorb_partial(
        &mut self,
        hash: u32,
        key: &FlowKey,
        partial: &FlowStats,
        contents: Option<PartialContents<'_>>,
        quote: Option<Quote>,
        tunnel: Option<&Outer>,
    ) -> (Standing, Kept) {
        self.latest_ns = self.latest_ns.max(partial.last_ns);
        let mut known = self.find(hash, key);
        // After the active timeout the session may have ended too.
        while let Some(number) = known
            && let Some(reason) = self.slot(number).and_then(|session| self.rules.ends_before(session, partial))
        {
            self.end(number, reason);
            known = self.find(hash, key);
        }
        let informed = informed(key, partial);
        let quoted = informed.map(|informed| self.quoted(key, informed, quote));
        let mut kept = Kept::InSession;
        let standing = match known.and_then(|number| self.join(number, partial, contents, quoted)) {
            Some(standing) => standing,
            None if !self.keeps_slight && partial.packets() == 1 => {
                kept = Kept::Not;
                self.pass_by(key, partial, quoted)
            }
            None => self.open(hash, key, partial, contents, quoted, tunnel),
        };
        let error = informed.zip(quote);
        let about_sender = error.is_some_and(|(informed, quote)| quote.is_to(key, informed.opposite()));
        (Standing { about_sender, ..standing }, kept)
    }

    fn join(
        &mut self,
        number: u32,
        partial: &FlowStats,
        contents: Option<PartialContents<'_>>,
        quoted: Option<Sender>,
    ) -> Option<Standing> {
        let session = self.slots.get_mut(number as usize)?.as_mut()?;
        session.known.quoted = session.known.quoted.or(quoted);
        if let Some(contents) = contents {
            let own = session.contents.get_or_insert_default();
            let before = session.record.statistics().map(Statistics::stats);
            own.follow(before.as_ref(), partial, contents);
        }
        if session.record.statistics().is_none() {
            self.begun.push(number);
        }
        let renews = session.is_slight() || session.last_ns / RENEWAL_NS < partial.last_ns / RENEWAL_NS;
        session.record.absorb(partial);
        session.connection.absorb(partial);
        session.last_ns = session.last_ns.max(partial.last_ns);
        // The end of a connection makes the end of the session earlier. So does the first partial flow of a further
        // record.
        let (deadline_ns, _) = self.rules.deadline(session);
        if Timers::tick(deadline_ns) < session.due {
            session.due = self.timers.schedule(number, deadline_ns);
        }
        Some(session.standing(partial, self.rules.initiator, false, renews))
    }

    fn open(
        &mut self,
        hash: u32,
        key: &FlowKey,
        partial: &FlowStats,
        contents: Option<PartialContents<'_>>,
        quoted: Option<Sender>,
        tunnel: Option<&Outer>,
    ) -> Standing {
        self.make_room();
        let contents = contents.map(|contents| Box::new(Contents::of(contents)));
        let mut connection = Connection::default();
        connection.absorb(partial);
        let mut session = Session {
            key: *key,
            record: Record::First(Statistics::of(partial)),
            known: Known { earlier: self.earlier(key, partial), quoted },
            sent: [false; 2],
            connection,
            contents,
            tunnel: tunnel.map(|tunnel| Box::new(*tunnel)),
            windows: None,
            last_ns: partial.last_ns,
            due: 0,
        };
        let number = self.free.pop().unwrap_or(self.slots.len() as u32);
        session.due = self.timers.schedule(number, self.rules.deadline(&session).0);
        let standing = session.standing(partial, self.rules.initiator, true, partial.packets() > 1);
        match self.slots.get_mut(number as usize) {
            Some(slot) => *slot = Some(session),
            None => self.slots.push(Some(session)),
        }
        self.index.insert(hash, number);
        self.begun.push(number);
        standing
    }

    /// The state of a flow of one packet that gets no session. Earlier sessions with this key are not considered.
    fn pass_by(&mut self, key: &FlowKey, partial: &FlowStats, quoted: Option<Sender>) -> Standing {
        self.overflow.passed_by += 1;
        let signs = Signs::of(partial);
        let initiator = match self.rules.initiator {
            InitiatorRule::Evidence => Initiator::known(key, &signs, Known { earlier: None, quoted }),
            InitiatorRule::FirstPacket => Initiator::first(&signs),
        };
        let answered = partial.direction(initiator.sender.opposite()).packets > 0;
        Standing { new: true, initiator: initiator.sender, answered, about_sender: false, renews: false }
    }

    /// The initiator of the session that a session starting with `partial` continues. `None` if a SYN opens a
    /// connection.
    fn earlier(&mut self, key: &FlowKey, partial: &FlowStats) -> Option<Sender> {
        // An opening is the first packet of its partial flow, however later packets are divided into partial flows.
        let opens = partial.directions.iter().any(|direction| matches!(direction.opening, Some(Opening::Syn(_))));
        self.memory.take(key).filter(|_| !opens)
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
        let opened = first_sender.map(|first_sender| first_sender == informed_there);
        if opened.unwrap_or_else(|| informed_opened(&quote)) { informed } else { informed.opposite() }
    }
}
