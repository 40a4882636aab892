//! Tests of the stream of rows with a peer that a test controls, and of the documentation.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::account::Account;
use super::super::batch::Batch;
use super::super::golden;
use super::super::origin::Origin;
use super::super::pace::Pace;
use super::super::remote::Failure;
use super::super::report::{RowCounts, Summary};
use super::super::sample::{self, Upstream, clock, incident, totals, verdict};
use super::attributes;
use super::deliver::{Deliver, Refused};
use super::encoding::Encoding;
use super::protobuf::{Field, fields};
use super::rows::Rows;
use super::{CHUNK, RowStream};
use crate::incident::State;

/// A peer whose outcomes a test sets. It takes rows when there are no more outcomes.
#[derive(Clone, Default)]
struct Stand(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    outcomes: VecDeque<Outcome>,
    attempts: usize,
    /// The rows of each delivery that was taken.
    deliveries: Vec<Vec<(u64, Vec<u8>)>>,
}

enum Outcome {
    Later,
    /// The rows are stored, and the answer is lost.
    LostAnswer,
    Refused,
    /// The last rows are refused.
    PartlyRefused(u64),
    Panic,
}

impl Deliver for Stand {
    fn connect(&mut self, _limit: Duration) -> Result<(), Failure> {
        Ok(())
    }

    fn deliver(&mut self, rows: &Rows, _limit: Duration) -> Result<Refused, Failure> {
        let mut record = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        record.attempts += 1;
        let taken: Vec<(u64, Vec<u8>)> = rows.iter().map(|(sequence, row)| (sequence, row.to_vec())).collect();
        match record.outcomes.pop_front() {
            None => record.deliveries.push(taken),
            Some(Outcome::LostAnswer) => {
                record.deliveries.push(taken);
                return Err(Failure::Later("the answer was lost".to_owned()));
            }
            Some(Outcome::Later) => return Err(Failure::Later("it is away".to_owned())),
            Some(Outcome::Refused) => return Err(Failure::Refused("it does not want them".to_owned())),
            Some(Outcome::PartlyRefused(number)) => {
                let kept = taken.len() - number as usize;
                record.deliveries.push(taken[..kept].to_vec());
                return Ok(Refused { rows: number, why: "they are too long".to_owned() });
            }
            Some(Outcome::Panic) => panic!("on purpose"),
        }
        Ok(Refused::none())
    }
}

/// A stream to a peer, with what it counts and reports.
struct Site {
    stand: Stand,
    stream: RowStream,
    account: Arc<Account>,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn new(pace: Pace, outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let stand = Stand::default();
        stand.0.lock().expect("no panic").outcomes.extend(outcomes);
        let (account, notices) = (Arc::new(Account::new()), Arc::new(Mutex::new(Vec::new())));
        let shown = Arc::clone(&notices);
        let notify = Box::new(move |text| shown.lock().expect("no panic").push(text));
        let (origin, peer) = (Origin::named("router1"), Box::new(stand.clone()));
        let name = "kafka a:1/x".to_owned();
        let stream = RowStream::over(name, origin, Encoding::Json, peer, pace, Arc::clone(&account), notify);
        Self { stand, stream, account, notices }
    }

    fn counts(&self) -> (u64, u64) {
        (self.account.written(), self.account.lost())
    }

    fn notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().expect("no panic"))
    }

    /// The sequence numbers of each delivery.
    fn sequences(&self) -> Vec<Vec<u64>> {
        let record = self.stand.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        record.deliveries.iter().map(|rows| rows.iter().map(|(sequence, _)| *sequence).collect()).collect()
    }
}

/// Events of incidents: as many rows.
fn events(number: usize) -> Batch {
    Batch::Incidents(vec![(State::Open, incident(), clock()); number])
}

/// A flow that is an anomaly: two rows.
fn anomalous_flow() -> Batch {
    let mut upstream = Upstream::new();
    let mut sinks =
        crate::export::Sinks::open(&[], crate::features::FlowColumns::Headers, Pace::Live).expect("nothing");
    upstream.absorb(&sample::exchange(1, 9), &mut sinks);
    let flows = upstream.flows().into_iter().map(|row| (row, Some(verdict(true)))).collect();
    Batch::Flows(flows)
}

#[test]
fn rows_are_those_of_json_lines_with_agent_generation_and_sequence() {
    let mut site = Site::new(Pace::Live, []);
    site.stream.take(&anomalous_flow(), 7);
    site.stream.take(&events(1), 9);
    let summary = Summary { totals: totals(), rows: RowCounts::default(), collectors: Vec::new(), losses: Vec::new() };
    site.stream.summary(&summary, 10);
    assert!(site.sequences().is_empty(), "few rows wait for the flush");
    site.stream.flush();
    assert_eq!((site.sequences(), site.counts()), (vec![vec![7, 8, 9, 10]], (4, 0)));
    let record = site.stand.0.lock().expect("no panic");
    let rows: Vec<Value> =
        record.deliveries[0].iter().map(|(_, row)| serde_json::from_slice(row).expect("JSON")).collect();
    let kinds = ["flow", "anomaly", "incident", "summary"];
    for ((number, row), kind) in (7..).zip(&rows).zip(kinds) {
        assert_eq!((&row["type"], &row["agent"], &row["generation"]), (&kind.into(), &"router1".into(), &1.into()));
        assert_eq!(row["sequence"], number);
    }
    assert_eq!((&rows[0]["src_ip"], &rows[1]["subject"]), (&"10.0.0.1".into(), &"flow".into()));
    assert_eq!((&rows[2]["kind"], &rows[3]["packets_received"]), (&"port_scan".into(), &12.into()));
    assert_eq!(site.notices(), [""; 0]);
}

#[test]
fn full_requests_are_sent_before_the_flush() {
    let mut site = Site::new(Pace::Live, []);
    let number = 1000;
    site.stream.take(&events(number), 0);
    let before = site.sequences().concat().len();
    site.stream.flush();
    let all = site.sequences();
    assert!(before > 0 && all.len() > 1 && all.concat() == (0..number as u64).collect::<Vec<_>>());
    let record = site.stand.0.lock().expect("no panic");
    let largest = record.deliveries.iter().map(|rows| rows.iter().map(|(_, row)| row.len()).sum::<usize>()).max();
    assert!(largest.is_some_and(|bytes| (CHUNK..CHUNK + 8192).contains(&bytes)), "{largest:?}");
}

#[test]
fn rows_are_sent_again_with_their_numbers_until_the_peer_has_them() {
    let mut site = Site::new(Pace::Live, [Outcome::LostAnswer, Outcome::Later, Outcome::Panic]);
    site.stream.take(&events(3), 0);
    site.stream.flush();
    assert_eq!((site.sequences(), site.counts()), (vec![vec![0, 1, 2]; 2], (3, 0)));
    let [away, back] = &site.notices()[..] else { panic!("two notices") };
    assert!(away.starts_with("kafka a:1/x takes no rows: it is away; its rows wait in memory"), "{away}");
    assert_eq!(back, "kafka a:1/x takes rows again");
}

#[test]
fn a_connection_that_was_closed_while_idle_is_no_event() {
    let mut site = Site::new(Pace::Live, [Outcome::Later]);
    site.stream.take(&events(1), 0);
    site.stream.flush();
    assert_eq!((site.counts(), site.notices()), ((1, 0), Vec::new()));
}

#[test]
fn refused_rows_are_lost_and_reported_once() {
    let mut site = Site::new(Pace::Live, [Outcome::Refused, Outcome::PartlyRefused(1)]);
    for first in [0, 2, 4] {
        site.stream.take(&events(2), first);
        site.stream.flush();
    }
    assert_eq!((site.sequences(), site.counts()), (vec![vec![2], vec![4, 5]], (3, 3)));
    let notices = site.notices();
    assert_eq!(notices, ["kafka a:1/x has refused 2 rows: it does not want them; refused rows are lost and counted"]);
}

#[test]
fn at_the_end_of_a_live_run_there_is_one_more_attempt() {
    let mut site = Site::new(Pace::Live, [Outcome::Later, Outcome::Later, Outcome::Later]);
    site.account.end();
    let begun = Instant::now();
    site.stream.take(&events(2), 0);
    site.stream.flush();
    site.stream.take(&events(2), 2);
    site.stream.flush();
    assert_eq!((site.sequences(), site.counts()), (Vec::new(), (0, 4)));
    let attempts = site.stand.0.lock().expect("no panic").attempts;
    assert!(attempts == 2 && begun.elapsed() < Duration::from_secs(1), "{attempts} after {:?}", begun.elapsed());
}

#[test]
fn the_end_of_the_run_ends_a_pause() {
    let outcomes = std::iter::repeat_with(|| Outcome::Later).take(100);
    let mut site = Site::new(Pace::Live, outcomes);
    let account = Arc::clone(&site.account);
    let notices = Arc::clone(&site.notices);
    let ending = std::thread::spawn(move || {
        while notices.lock().expect("no panic").is_empty() {
            std::thread::yield_now();
        }
        account.end();
    });
    site.stream.take(&events(1), 0);
    site.stream.flush();
    ending.join().expect("no panic");
    assert_eq!(site.counts(), (0, 1));
}

/// The number and the content of the fields with this number in an encoded message.
fn contents(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of_number = |(field, value)| match value {
        Field::Content(content) if field == number => Some(content),
        _ => None,
    };
    fields(bytes).filter_map(of_number).collect()
}

#[test]
fn a_log_record_has_the_names_of_the_semantic_conventions() {
    let mut site = Site::new(Pace::Live, []);
    site.stream.encoding = Encoding::Otlp;
    site.stream.take(&anomalous_flow(), 0);
    site.stream.flush();
    let record = site.stand.0.lock().expect("no panic");
    let names = |row: &[u8]| -> Vec<String> {
        let [record] = contents(row, 2)[..] else { panic!("a log record") };
        contents(record, 6).iter().map(|pair| String::from_utf8(contents(pair, 1)[0].to_vec()).expect("text")).collect()
    };
    let flow = names(&record.deliveries[0][0].1);
    for name in
        ["source.address", "destination.port", "network.transport", "network.type", "flowml.sequence", "flowml.score"]
    {
        assert_eq!(flow.iter().filter(|own| *own == name).count(), 1, "{name} in {flow:?}");
    }
    assert!(!flow.iter().any(|name| name == "flowml.src_ip"));
    assert!(names(&record.deliveries[0][1].1).contains(&"flowml.reasons".to_owned()));
}

#[test]
fn the_document_lists_every_attribute() {
    let document = golden::replaced(&golden::read("../docs/STREAMS.md"), "attributes", &attributes::table());
    golden::assert_is("../docs/STREAMS.md", &document);
}
