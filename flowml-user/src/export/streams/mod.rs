//! Sends rows of every kind to a peer that acknowledges them: Kafka, NATS JetStream, OpenTelemetry.
//!
//! Each row has the agent, the generation of the agent and a sequence number, and is delivered at least once. While the
//! peer is away, the thread of the output waits for it, and rows wait in the output's bounded queue.

mod attributes;
mod credentials;
mod deliver;
mod encoding;
#[cfg(feature = "kafka")]
mod kafka;
mod nats;
mod otlp;
mod protobuf;
mod rows;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::credentials::Credentials;
use self::deliver::{Deliver, Refused};
use self::encoding::Encoding;
#[cfg(feature = "kafka")]
use self::kafka::Kafka;
use self::nats::Nats;
use self::otlp::Otlp;
use self::rows::Rows;
use super::account::Account;
use super::backoff::Backoff;
use super::batch::Batch;
use super::columns::Cell;
use super::notify::Notify;
use super::origin::Origin;
use super::pace::Pace;
use super::remote::{Failure, attempt, resolve};
use super::report::Summary;
use super::row::{Row, TakeRow, each_row};
use super::target::{Peer, RowPeer};

/// Rows are sent when they have about this size, bytes, and at each flush. Brokers take messages of 1 MB by default.
const CHUNK: usize = 512 << 10;

/// Time limit of an attempt.
const LIMIT: Duration = Duration::from_secs(10);

/// Time from the beginning of the end of a live run until no more attempts are made: a live run ends within two seconds.
const LAST: Duration = Duration::from_millis(1600);

/// Time for which a run over files waits for a peer that is away. After that its rows are lost until it is back.
const PATIENCE: Duration = Duration::from_secs(60);

/// After a failure that took less than this time, the next attempt follows at once: an idle connection may have been
/// closed.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Interval at which a pause checks whether the run ends.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// Sends rows to a peer.
pub(super) struct RowStream {
    /// The peer as messages name it.
    name: String,
    origin: Origin,
    encoding: Encoding,
    peer: Box<dyn Deliver>,
    pace: Pace,
    account: Arc<Account>,
    notify: Notify,
    /// The rows that are sent next.
    waiting: Rows,
    /// The sequence number of the next row.
    sequence: u64,
    /// Since when the peer is away, and the time of the next attempt.
    away: Option<(Instant, Backoff)>,
    /// Whether the peer has taken rows. A run over files waits only for such a peer: for another one the address, the topic or
    /// the credentials may be wrong.
    has_taken: bool,
    /// Whether an attempt has failed after the end of the run began, so that no attempt follows.
    gave_up: bool,
    /// Whether a refusal was reported since rows were last accepted.
    is_refusal_reported: bool,
}

impl RowStream {
    /// Resolves the peer's name. A peer that does not listen is an error for a run over files. A live run waits for it.
    pub(super) fn open(
        target: &RowPeer,
        origin: Origin,
        pace: Pace,
        account: &Arc<Account>,
        notify: Notify,
    ) -> io::Result<Self> {
        let unresolved = resolve(target.places(), pace)?;
        let credentials = target.options.credentials.as_deref();
        let secrets = credentials.map(Credentials::read).transpose()?;
        let (encoding, peer): (_, Box<dyn Deliver>) = match &target.peer {
            #[cfg(not(feature = "kafka"))]
            Peer::Kafka(..) => {
                let why = "this build has no client of Kafka (feature kafka)";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
            #[cfg(feature = "kafka")]
            Peer::Kafka(brokers, topic) => {
                (Encoding::Json, Box::new(Kafka::open(brokers, topic, &target.options, secrets, &origin)?))
            }
            Peer::Nats(server, subject) => {
                (Encoding::Json, Box::new(Nats::open(server, subject, &target.options, secrets, &origin)?))
            }
            Peer::Otlp(url) => (Encoding::Otlp, Box::new(Otlp::open(url, secrets, &origin)?)),
        };
        let mut stream = Self::over(target.to_string(), origin, encoding, peer, pace, Arc::clone(account), notify);
        match (pace, unresolved) {
            (Pace::Live, None) => {}
            (Pace::Live, Some(why)) => stream.note_absence(&why),
            (Pace::Offline, _) => {
                let Self { account, peer, .. } = &mut stream;
                account
                    .wait_in(|| peer.connect(LIMIT))
                    .map_err(|(Failure::Later(why) | Failure::Refused(why))| io::Error::other(why))?;
            }
        }
        Ok(stream)
    }

    /// A stream to this peer.
    fn over(
        name: String,
        origin: Origin,
        encoding: Encoding,
        peer: Box<dyn Deliver>,
        pace: Pace,
        account: Arc<Account>,
        notify: Notify,
    ) -> Self {
        Self {
            name,
            origin,
            encoding,
            peer,
            pace,
            account,
            notify,
            waiting: Rows::default(),
            sequence: 0,
            away: None,
            has_taken: false,
            gave_up: false,
            is_refusal_reported: false,
        }
    }

    /// Sends the rows of a batch, of which the first has the sequence number `first`.
    pub(super) fn take(&mut self, batch: &Batch, first: u64) {
        if self.gave_up {
            self.account.add_lost(batch.rows().1);
            return;
        }
        self.sequence = first;
        each_row(batch, self);
    }

    /// Sends the summary.
    pub(super) fn summary(&mut self, summary: &Summary, sequence: u64) {
        let Self { encoding, origin, waiting, .. } = self;
        waiting.push(sequence, |bytes| encoding.summary(bytes, summary, origin, sequence));
    }

    /// Sends the rows that wait. Returns when they were delivered or are lost.
    pub(super) fn flush(&mut self) {
        if !self.waiting.is_empty() {
            let lost = self.deliver();
            self.account.add_written(self.waiting.len() - lost);
            self.account.add_lost(lost);
            self.waiting.clear();
        }
    }

    /// Delivers the rows that wait. Returns how many are lost.
    fn deliver(&mut self) -> u64 {
        let mut retries_at_once = self.away.is_none();
        while self.is_to_try() {
            let (began, is_last) = (Instant::now(), self.is_last());
            match self.attempt() {
                Ok(refused) => {
                    self.note_presence();
                    if refused.rows > 0 {
                        self.note_refusal(refused.rows, &refused.why);
                    } else {
                        self.is_refusal_reported = false;
                    }
                    return refused.rows;
                }
                Err(Failure::Refused(why)) => {
                    self.note_presence();
                    self.note_refusal(self.waiting.len(), &why);
                    return self.waiting.len();
                }
                Err(Failure::Later(_)) if retries_at_once && began.elapsed() < AT_ONCE => retries_at_once = false,
                Err(Failure::Later(why)) => {
                    self.note_absence(&why);
                    self.gave_up = self.account.ended().is_some() && is_last;
                    if is_last || self.is_impatient() {
                        break;
                    }
                    self.pause();
                }
            }
        }
        self.waiting.len()
    }

    /// Makes an attempt.
    fn attempt(&mut self) -> Result<Refused, Failure> {
        let limit =
            self.account.ended().map_or(LIMIT, |ended| (ended + LAST).saturating_duration_since(Instant::now()));
        let Self { peer, waiting, account, .. } = self;
        attempt(|| account.wait_in(|| peer.deliver(waiting, limit.min(LIMIT))))
    }

    /// Whether an attempt is made now.
    fn is_to_try(&mut self) -> bool {
        if let Some(ended) = self.account.ended() {
            return !self.gave_up && ended.elapsed() < LAST;
        }
        !self.is_impatient() || self.away.as_mut().is_none_or(|(_, backoff)| backoff.is_due(Instant::now()))
    }

    /// Whether the rows are lost if the next attempt fails.
    fn is_last(&self) -> bool {
        self.account.ended().is_some() || self.is_impatient()
    }

    /// Whether a run over files does not wait any longer.
    fn is_impatient(&self) -> bool {
        let has_waited = self.away.as_ref().is_some_and(|(since, _)| !self.has_taken || since.elapsed() >= PATIENCE);
        self.pace == Pace::Offline && has_waited
    }

    /// Waits until the next attempt is due or the run ends.
    fn pause(&mut self) {
        let Some((_, backoff)) = &mut self.away else { return };
        while self.account.ended().is_none() && !backoff.is_due(Instant::now()) {
            let left = backoff.again().saturating_duration_since(Instant::now());
            self.account.wait_in(|| thread::sleep(left.min(CHECK_EVERY)));
        }
    }

    /// The peer cannot be reached. This is reported once.
    fn note_absence(&mut self, why: &str) {
        if self.away.is_none() {
            let now = Instant::now();
            self.away = Some((now, Backoff::begin(now)));
            let rest = match self.pace {
                Pace::Live => "its rows wait in memory and are sent again, and metering continues".to_owned(),
                Pace::Offline if !self.has_taken => "its rows are lost and counted until it takes some".to_owned(),
                Pace::Offline => format!("the run waits for it, for at most {} s", PATIENCE.as_secs()),
            };
            (self.notify)(format!("{} takes no rows: {why}; {rest}", self.name));
        }
    }

    /// The peer was reached.
    fn note_presence(&mut self) {
        self.has_taken = true;
        if self.away.take().is_some() {
            (self.notify)(format!("{} takes rows again", self.name));
        }
    }

    fn note_refusal(&mut self, rows: u64, why: &str) {
        if !std::mem::replace(&mut self.is_refusal_reported, true) {
            let name = &self.name;
            (self.notify)(format!("{name} has refused {rows} rows: {why}; refused rows are lost and counted"));
        }
    }
}

impl TakeRow for RowStream {
    fn take_row<C: Iterator<Item = (&'static str, Cell)>>(&mut self, row: Row<'_, C>) {
        let Self { encoding, origin, waiting, sequence, .. } = self;
        waiting.push(*sequence, |bytes| encoding.row(bytes, row, origin, *sequence));
        *sequence += 1;
        if self.waiting.bytes() >= CHUNK {
            self.flush();
        }
    }
}
