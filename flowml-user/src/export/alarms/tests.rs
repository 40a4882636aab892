//! Tests of the formats against committed files, of the delivering thread, and of the documentation.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::origin::Origin;
use super::super::remote::{Failure, SLOW, unresolved};
use super::super::sample::{clock, incident};
use super::super::target::Format;
use super::super::{account::Account, golden, pace::Pace};
use super::body::body;
use super::courier::{Courier, Status, WAITING};
use super::event::Event;
use super::receive::Receive;
use super::syslog_message::{local_message, message};
use super::{Reported, ecs, field, notices, ocsf};
use crate::incident::{Hosts, Incident, State};
use crate::sequential::Kind;

fn sender() -> Origin {
    Origin::named("router1")
}

fn event<'a>(state: State, incident: &'a Incident, sender: &'a Origin) -> Event<'a> {
    Event { state, incident, clock: clock(), sender }
}

fn pretty(text: &str) -> String {
    let value: Value = serde_json::from_str(text).expect(text);
    format!("{value:#}\n")
}

/// An incident that a model found, without a technique and without counts.
fn unusual() -> Incident {
    let evidence = Default::default();
    Incident { kind: Kind::Unusual, evidence, targets: Hosts::default(), probability: 3e-4, ..incident() }
}

#[test]
fn each_format_is_as_committed() {
    let (sender, scan, unusual) = (sender(), incident(), unusual());
    let formats = [("own", Format::Json), ("ecs", Format::Ecs), ("ocsf", Format::Ocsf), ("slack", Format::Slack)];
    for (name, format) in formats {
        let opened = body(format, &event(State::Open, &scan, &sender));
        assert!(!opened.contains('\n'), "{opened}");
        golden::assert_is(&format!("src/export/alarms/golden/{name}_opened.json"), &pretty(&opened));
        let closed = body(format, &event(State::Closed, &unusual, &sender));
        golden::assert_is(&format!("src/export/alarms/golden/{name}_closed.json"), &pretty(&closed));
    }
}

#[test]
fn a_syslog_message_is_as_committed() {
    let (sender, scan) = (sender(), incident());
    let own = format!(" flowml {} incident ", std::process::id());
    let lines = [State::Open, State::Named, State::Closed].map(|state| {
        let message = message(Format::Text, &event(state, &scan, &sender));
        assert!(message.contains(&own), "{message}");
        message.replace(&own, " flowml PROCID incident ") + "\n"
    });
    golden::assert_is("src/export/alarms/golden/syslog.txt", &lines.concat());
    let with_json = message(Format::Json, &event(State::Open, &scan, &sender));
    let (_, json) = with_json.split_once("] ").expect("structured data");
    assert_eq!(json, body(Format::Json, &event(State::Open, &scan, &sender)));
    let local = local_message(Format::Text, &event(State::Open, &scan, &sender));
    let start = format!("<26>flowml[{}]: incident 1 opened: ", std::process::id());
    assert!(local.starts_with(&start), "{local}");
}

#[test]
fn every_kind_of_incident_has_every_required_member_of_a_finding() {
    let sender = sender();
    for kind in Kind::all() {
        let incident = Incident { kind, ..incident() };
        let finding: Value =
            serde_json::from_str(&body(Format::Ocsf, &event(State::Named, &incident, &sender))).expect("JSON");
        assert_eq!((&finding["class_uid"], &finding["type_uid"]), (&2004.into(), &200_402.into()));
        for member in ["activity_id", "category_uid", "finding_info", "metadata", "severity_id", "time"] {
            assert!(!finding[member].is_null(), "{member} of {finding}");
        }
        assert_eq!(finding["finding_info"]["attacks"].is_null(), kind.technique().is_none());
    }
}

#[test]
fn the_document_lists_every_field() {
    let mut document = golden::read("../docs/ALARMS.md");
    for (name, fields) in [("ecs", &ecs::FIELDS[..]), ("ocsf", &ocsf::FIELDS[..])] {
        document = golden::replaced(&document, name, &field::table(fields));
    }
    golden::assert_is("../docs/ALARMS.md", &document);
}

/// A receiver whose outcomes a test sets. It delivers when there are no more outcomes.
#[derive(Clone, Default)]
struct Stand(Arc<(Mutex<Record>, Condvar)>);

#[derive(Default)]
struct Record {
    outcomes: VecDeque<Failure>,
    delivered: Vec<String>,
    repeated: usize,
    attempts: usize,
    /// Whether attempts block.
    blocks: bool,
    /// Whether the next attempt panics.
    panics: bool,
}

impl Stand {
    fn failing(outcomes: impl IntoIterator<Item = Failure>) -> Self {
        let stand = Self::default();
        stand.0.0.lock().expect("no test panicked").outcomes.extend(outcomes);
        stand
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.0.0.lock().expect("no test panicked"));
        self.0.1.notify_all();
    }

    /// Waits until the receiver is as the test needs it.
    fn wait<T>(&self, done: impl Fn(&Record) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut record = self.0.0.lock().expect("no test panicked");
        loop {
            if let Some(found) = done(&record) {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the thread does it");
            record = self.0.1.wait_timeout(record, Duration::from_millis(100)).expect("no test panicked").0;
        }
    }
}

impl Receive for Stand {
    fn deliver(&mut self, event: &Event<'_>, _limit: Duration) -> Result<(), Failure> {
        let mut record = self.0.0.lock().expect("no test panicked");
        record.attempts += 1;
        self.0.1.notify_all();
        while record.blocks {
            record = self.0.1.wait(record).expect("no test panicked");
        }
        if std::mem::take(&mut record.panics) {
            drop(record);
            panic!("the system has no further thread");
        }
        if let Some(failure) = record.outcomes.pop_front() {
            return Err(failure);
        }
        record.delivered.push(format!("{} {}", event.incident.number, event.name()));
        self.0.1.notify_all();
        Ok(())
    }

    fn repeats_every(&self) -> Option<Duration> {
        // Longer than a test, so that repetitions follow only from a return of the receiver.
        Some(Duration::from_secs(3600))
    }

    fn repeat(&mut self, _limit: Duration) -> Result<bool, Failure> {
        self.change(|record| record.repeated += 1);
        Ok(true)
    }
}

/// A thread that delivers to a stand, and the counts that the run reads.
fn courier(stand: &Stand, pace: Pace) -> (Courier, Arc<Account>) {
    let account = Arc::new(Account::new());
    (Courier::begin(stand.clone(), sender(), pace, &account, None).expect("a thread"), account)
}

/// A live run's thread whose receiver does not answer, with one more opening than can wait, and the number of that one.
fn overfull() -> (Stand, Courier, u64) {
    let stand = Stand::default();
    stand.change(|record| record.blocks = true);
    let (courier, _) = courier(&stand, Pace::Live);
    let number = WAITING as u64;
    for opened in 0..=number {
        give(&courier, &[(State::Open, opened)]);
    }
    (stand, courier, number)
}

fn give(courier: &Courier, events: &[(State, u64)]) {
    events
        .iter()
        .for_each(|(state, number)| courier.take((*state, Incident { number: *number, ..incident() }, clock())));
}

#[test]
fn an_event_is_tried_until_it_is_delivered_and_the_next_ones_follow_in_order() {
    let later = || Failure::Later("away".to_owned());
    let stand = Stand::failing([later()]);
    let (courier, account) = courier(&stand, Pace::Offline);
    give(&courier, &[(State::Open, 1), (State::Open, 2), (State::Closed, 1)]);
    let delivered = stand.wait(|record| (record.delivered.len() == 3).then(|| record.delivered.clone()));
    assert_eq!(delivered, ["1 opened", "2 opened", "1 closed"]);
    stand.wait(|record| (record.repeated == 1).then_some(()));
    courier.finish();
    let Status { away, refused, overflowed, accepted, lost } = courier.status();
    // Three events and the repetition.
    assert_eq!((away, refused, overflowed, accepted, lost), (None, None, false, 4, 0));
    assert_eq!((account.written(), account.lost()), (3, 0));
}

#[test]
fn a_refused_event_is_lost_and_not_tried_again() {
    let stand = Stand::failing([Failure::Refused("it answered 404".to_owned())]);
    let (courier, account) = courier(&stand, Pace::Offline);
    give(&courier, &[(State::Open, 1), (State::Open, 2)]);
    stand.wait(|record| (record.delivered == ["2 opened"]).then_some(()));
    courier.finish();
    let Status { refused, accepted, lost, .. } = courier.status();
    assert_eq!((refused.as_deref(), accepted, lost), (Some("it answered 404"), 1, 1));
    assert_eq!((account.written(), account.lost()), (1, 1));
}

#[test]
fn the_end_does_not_wait_for_a_receiver_that_does_not_answer() {
    let stand = Stand::default();
    stand.change(|record| record.blocks = true);
    let (courier, account) = courier(&stand, Pace::Live);
    give(&courier, &[(State::Open, 1), (State::Closed, 1)]);
    stand.wait(|record| (record.attempts == 1).then_some(()));
    courier.finish();
    assert_eq!((account.written(), account.lost()), (0, 2));
    // An answer after the end changes no count.
    stand.change(|record| record.blocks = false);
    stand.wait(|record| (!record.delivered.is_empty()).then_some(()));
    give(&courier, &[]);
    assert_eq!((account.written(), account.lost()), (0, 2));
}

#[test]
fn the_end_of_the_run_makes_one_more_attempt() {
    let stand = Stand::failing([Failure::Later("away".to_owned())]);
    let (courier, account) = courier(&stand, Pace::Offline);
    give(&courier, &[(State::Open, 1)]);
    stand.wait(|record| (record.attempts == 1).then_some(()));
    courier.finish();
    assert_eq!((account.written(), account.lost(), stand.wait(|record| Some(record.attempts))), (1, 0, 2));
}

#[test]
fn an_attempt_that_panics_is_made_again() {
    let stand = Stand::default();
    stand.change(|record| record.panics = true);
    let (courier, account) = courier(&stand, Pace::Offline);
    give(&courier, &[(State::Open, 1), (State::Closed, 1)]);
    stand.wait(|record| (record.delivered == ["1 opened", "1 closed"]).then_some(()));
    courier.finish();
    assert_eq!((account.written(), account.lost()), (2, 0));
}

#[test]
fn an_incident_is_closed_if_only_its_naming_was_accepted() {
    let (stand, courier, number) = overfull();
    stand.change(|record| record.blocks = false);
    stand.wait(|record| (record.delivered.len() == WAITING).then_some(()));
    stand.change(|record| record.blocks = true);
    give(&courier, &[(State::Named, number)]);
    // Now the queue is full again.
    for opened in number + 1..3 * number {
        give(&courier, &[(State::Open, opened)]);
    }
    give(&courier, &[(State::Closed, number)]);
    stand.change(|record| record.blocks = false);
    let last = format!("{number} closed");
    stand.wait(|record| record.delivered.contains(&last).then_some(()));
}

#[test]
fn waiting_events_are_limited_and_an_accepted_incident_is_always_closed() {
    let (stand, courier, number) = overfull();
    // The last opening was lost, and so is its closing.
    give(&courier, &[(State::Closed, number), (State::Named, 0), (State::Closed, 0)]);
    let Status { overflowed, lost, .. } = courier.status();
    assert_eq!((overflowed, lost), (true, 3));
    stand.change(|record| record.blocks = false);
    let delivered = stand.wait(|record| (record.delivered.len() == WAITING + 1).then(|| record.delivered.clone()));
    assert_eq!(delivered.last().map(String::as_str), Some("0 closed"));
    courier.finish();
    let Status { accepted, lost, .. } = courier.status();
    assert_eq!((accepted, lost), (number + 1, 3));
}

#[test]
fn a_name_that_is_slow_to_fail_does_not_end_a_live_run_that_has_started() {
    let after = |took, pace| {
        let error = std::io::Error::other("no answer");
        unresolved(error, took, pace).map_err(|error| error.to_string())
    };
    let fails = Err("no answer".to_owned());
    assert_eq!(after(Duration::ZERO, Pace::Live), fails);
    assert_eq!(after(SLOW, Pace::Live), Ok("no answer".to_owned()));
    assert_eq!(after(SLOW, Pace::Offline), fails);
}

#[test]
fn each_change_of_a_receiver_is_reported_once() {
    let mut reported = Reported::default();
    let of = |away: Option<&str>, refused: Option<&str>, overflowed, accepted, lost| Status {
        away: away.map(str::to_owned),
        refused: refused.map(str::to_owned),
        overflowed,
        accepted,
        lost,
    };
    let mut report = |status: &Status, accepted_then| notices("syslog udp:a:1", status, &mut reported, accepted_then);
    assert!(report(&of(None, None, false, 1, 0), 0).is_empty());
    let away = of(Some("Connection refused"), None, false, 1, 0);
    assert_eq!(
        report(&away, 1),
        [
            "syslog udp:a:1 takes no incidents: Connection refused; up to 4096 events wait and are sent again, and metering \
          continues"
        ]
    );
    assert!(report(&away, 1).is_empty());
    let overflowed = report(&of(Some("Connection refused"), None, true, 1, 1), 1);
    assert_eq!(
        overflowed,
        ["syslog udp:a:1 is away for too long: 4096 events wait, and further ones are lost and counted"]
    );
    let back = of(None, None, false, 2, 1);
    assert_eq!(report(&back, 1), ["syslog udp:a:1 takes incidents again; 1 events were lost so far"]);
    assert!(report(&back, 2).is_empty());
    let refused = report(&of(None, Some("it answered 404"), false, 2, 2), 2);
    assert_eq!(
        refused,
        ["syslog udp:a:1 has refused an incident: it answered 404; refused events are lost and counted"]
    );
    assert!(report(&of(None, Some("it answered 404"), false, 2, 3), 2).is_empty());
}
