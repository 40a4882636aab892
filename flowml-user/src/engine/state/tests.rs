//! Tests: interrupted runs make the records of an uninterrupted one, and unusable state is left out and reported.

use std::fs;

use flowml_common::flow::{ACK, FIN, RST, SYN};
use proptest::prelude::*;
use serde_json::Value;
use sha1::Digest as _;

use super::super::learners::Begin;
use super::super::tests::absorb;
use super::*;
use crate::export::{Pace, Sinks, Target};
use crate::learning::Settings;
use crate::process::state::LAYOUT;
use crate::record::Clock;
use crate::session::Timeouts;
use crate::session::samples::{Sample, tcp};

const SECOND: u64 = 1_000_000_000;

const ORIGIN: Origin = Origin::Builtin(Builtin::Both);

/// The types of rows, except the summary.
const KINDS: [&str; 5] = ["flow", "host", "anomaly", "incident", "aggregate"];

/// A packet, or a port scan.
#[derive(Clone, Debug)]
enum Step {
    Packet { flow: u16, answer: bool, flags: u8, pause_ms: u64 },
    Scan { ports: u16, pause_ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let pause_ms = || prop_oneof![8 => 0..200u64, 1 => 1000..20_000u64];
    let flags = prop_oneof![4 => Just(ACK), 2 => Just(SYN), 1 => Just(SYN | ACK), 1 => Just(FIN | ACK), 1 => Just(RST)];
    prop_oneof![
        15 => (0..40u16, any::<bool>(), flags, pause_ms())
            .prop_map(|(flow, answer, flags, pause_ms)| Step::Packet { flow, answer, flags, pause_ms }),
        1 => (20..60u16, pause_ms()).prop_map(|(ports, pause_ms)| Step::Scan { ports, pause_ms }),
    ]
}

fn packets(steps: &[Step]) -> Vec<Sample> {
    let mut time_ns = SECOND;
    let mut packets = Vec::new();
    for step in steps {
        match *step {
            Step::Packet { flow, answer, flags, pause_ms } => {
                time_ns += pause_ms * 1_000_000 + 1000;
                let ends = [format!("10.0.0.{}:{}", 9 + flow % 3, 1000 + flow), format!("10.0.1.{}:80", flow % 7)];
                let [from, to] = if answer { [&ends[1], &ends[0]] } else { [&ends[0], &ends[1]] };
                packets.push(tcp(time_ns, from, to, flags));
            }
            Step::Scan { ports, pause_ms } => {
                time_ns += pause_ms * 1_000_000;
                for port in 0..ports {
                    time_ns += 1000;
                    packets.push(tcp(time_ns, "10.0.0.66:40000", &format!("10.0.1.1:{}", 100 + port), SYN));
                }
            }
        }
    }
    packets
}

fn begun(rows: &Path, learners: Option<Learners>, start_ns: u64) -> Pipeline {
    let target: Target = format!("jsonl={}", rows.display()).parse().expect("a target");
    let sinks = Sinks::open(&[target], FlowColumns::Headers, Pace::Offline).expect("the folder is ours");
    Pipeline::new(Timeouts::default(), Vec::new(), learners, sinks, start_ns, 7)
}

fn learners(from: Begin<'_>) -> Learners {
    let settings = Settings { warm_up_rows: 20, warm_up_batches: 4, ..Settings::default() };
    Learners::begin(from, FlowColumns::Headers, &settings, None).expect("it ships with flowml")
}

fn at(drains: u64) -> Moment {
    Moment::new([3; 20], drains)
}

fn open(path: &Path, moment: Moment, origin: Option<Origin>) -> (Option<KeptState>, Found) {
    KeptState::read(path, moment, origin, FlowColumns::Headers, Sessions::new(Timeouts::default()))
}

/// Leaves the open state of a pipeline in a file.
fn leave(pipeline: Pipeline, path: &Path, origin: Option<Origin>) -> Left {
    let (state, _) = open(path, at(0), origin);
    let mut state = state.expect("a file of ours");
    state.drained(5);
    let finished = pipeline.leave(&mut state, Clock::default());
    assert!(finished.conserved);
    finished.left
}

fn lines(rows: &Path) -> Vec<String> {
    fs::read_to_string(rows).expect("it was written").lines().map(str::to_owned).collect()
}

/// The rows of each type of a run over epochs that is interrupted before the epochs `cuts`.
fn rows(epochs: &[Vec<Sample>], cuts: &[usize], begin: Begin<'_>) -> [Vec<String>; KINDS.len()] {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("state");
    let origin = Origin::of(begin);
    let file = |run: usize| folder.path().join(format!("{run}.jsonl"));
    let mut run = 0;
    let mut pipeline = begun(&file(run), Some(learners(begin)), 0);
    let mut end_ns = 0;
    for (number, epoch) in epochs.iter().enumerate() {
        if cuts.contains(&number) {
            leave(pipeline, &path, origin);
            let (_, found) = open(&path, at(5), origin);
            assert_eq!(found.warnings, [""; 0]);
            run += 1;
            assert!(found.learners.is_some() && found.open.is_some());
            pipeline = begun(&file(run), found.learners, end_ns).resume(found.open);
        }
        absorb(&mut pipeline, epoch);
        end_ns = epoch.last().expect("epochs have packets").time_ns;
        assert!(pipeline.end_interval(end_ns, Clock::default()).is_continue());
    }
    assert!(pipeline.finish(Clock::default()).conserved);
    let all: Vec<String> = (0..=run).flat_map(|run| lines(&file(run))).collect();
    KINDS.map(|kind| {
        let begins = format!("{{\"type\":\"{kind}\"");
        all.iter().filter(|line| line.starts_with(&begins)).cloned().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn interruptions_change_no_byte_of_a_record(
        steps in prop::collection::vec(step(), 30..250),
        epoch in 1..30usize,
        cuts in prop::collection::vec(0..40usize, 1..4),
        untrained in any::<bool>(),
    ) {
        let epochs: Vec<Vec<Sample>> = packets(&steps).chunks(epoch).map(<[Sample]>::to_vec).collect();
        let begin = if untrained { Begin::Untrained } else { Begin::Builtin(Builtin::Both) };
        let [whole, cut] = [&[][..], &cuts].map(|cuts| rows(&epochs, cuts, begin));
        prop_assert!(!whole[0].is_empty());
        for (whole, cut) in whole.iter().zip(&cut) {
            prop_assert_eq!(whole, cut);
        }
    }
}

/// A pipeline with open sessions of `packets` packets each.
fn with_open(folder: &Path, flows: u16, packets: u64) -> Pipeline {
    let mut pipeline = begun(&folder.join("before.jsonl"), None, 0);
    let of =
        |flow| (0..packets).map(move |n| tcp(SECOND + n, &format!("10.0.0.1:{}", 1000 + flow), "10.0.0.2:80", ACK));
    absorb(&mut pipeline, &(0..flows).flat_map(of).collect::<Vec<_>>());
    assert!(pipeline.end_interval(2 * SECOND, Clock::default()).is_continue());
    pipeline
}

#[test]
fn sessions_that_timed_out_between_runs_keep_their_end_reason() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("state");
    let left = leave(with_open(folder.path(), 3, 2), &path, None);
    assert_eq!((left.sessions, left.counted.packets), (3, 6));
    let (_, found) = open(&path, at(5), None);
    assert!(found.notices[0].ends_with("3 open sessions with 6 packets continue"), "{:?}", found.notices);
    let rows = folder.path().join("after.jsonl");
    let mut pipeline = begun(&rows, None, 900 * SECOND).resume(found.open);
    assert!(pipeline.end_interval(900 * SECOND, Clock::default()).is_continue());
    assert!(pipeline.finish(Clock::default()).conserved);
    let rows: Vec<Value> = lines(&rows).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [flows @ .., summary] = &rows[..] else { panic!("a summary") };
    assert_eq!(flows.len(), 3);
    assert!(flows.iter().all(|flow| flow["end_reason"] == "idle_timeout" && flow["bidirectional_packets"] == 2));
    assert_eq!((&summary["packets_in_flows"], &summary["taken_over"]["packets"]), (&0.into(), &6.into()));
}

#[test]
fn sessions_that_cannot_continue_are_reported_and_models_are_kept() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("state");
    let mut pipeline = with_open(folder.path(), 2, 2);
    pipeline.learners = Some(learners(Begin::Builtin(Builtin::Both)));
    leave(pipeline, &path, Some(ORIGIN));
    let (state, found) = open(&path, at(6), Some(ORIGIN));
    assert!(state.is_some() && found.open.is_none() && found.over.is_none() && found.learners.is_some());
    assert!(found.warnings[0].contains("another run has drained"), "{:?}", found.warnings);
    // With another model, open sessions continue, even if a run that took them ended before it did anything.
    for origin in [None, Some(Origin::Nothing)] {
        let (_, found) = open(&path, at(5), origin);
        assert!(found.learners.is_none() && found.open.is_some() && found.warnings.is_empty());
        assert!(found.notices[0].contains("another model"), "{:?}", found.notices);
    }
    // More sessions than the capacity.
    assert!(!path.exists(), "it was taken");
    let sessions = Sessions::new(Timeouts::default()).with_capacity(1);
    let (_, found) = KeptState::read(&path, at(5), Some(ORIGIN), FlowColumns::Headers, sessions);
    assert!(found.open.is_none() && found.warnings[0].contains("--memory-max"), "{:?}", found.warnings);
}

#[test]
fn sessions_that_cannot_continue_have_records_once_with_the_times_of_their_clock() {
    let other_boot = Moment { boot: "another".to_owned(), ..at(5) };
    for (moment, reason) in [(other_boot, "the host was restarted"), (Moment::new([4; 20], 5), "is a different one")] {
        let folder = tempfile::tempdir().expect("there is room");
        let path = folder.path().join("state");
        let (state, _) = open(&path, at(5), None);
        let then = Clock::new(0, 1_000_000 * SECOND);
        let left = with_open(folder.path(), 3, 2).leave(&mut state.expect("a file of ours"), then).left;
        let (_, found) = open(&path, moment.clone(), None);
        assert!(found.open.is_none() && found.notices[0].contains(reason), "{:?}", found.notices);
        let rows = folder.path().join("after.jsonl");
        let mut pipeline = begun(&rows, None, 0);
        pipeline.end_over(found.over.expect("sessions"));
        // Another run, after a crash of this one.
        let (_, found) = open(&path, moment, None);
        assert!(found.over.is_none() && found.warnings[0].contains("may have written them"), "{:?}", found.warnings);
        assert!(pipeline.finish(Clock::default()).conserved);
        let rows: Vec<Value> = lines(&rows).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let [flows @ .., summary] = &rows[..] else { panic!("a summary") };
        assert_eq!((flows.len(), &summary["taken_over"]["packets"]), (3, &left.counted.packets.into()));
        assert!(flows.iter().all(|flow| flow["bidirectional_first_seen_ms"] == 1_000_001_000_u64), "{flows:?}");
    }
}

#[test]
fn an_unreadable_file_is_reported_and_a_foreign_file_is_not_changed() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("state");
    let (state, found) = open(&path, at(5), None);
    assert!(state.is_some() && found.warnings.is_empty() && found.notices.is_empty(), "it is not there yet");
    leave(with_open(folder.path(), 50, 3), &path, None);
    let whole = fs::read(&path).expect("it was written");
    for length in [whole.len() - 1, whole.len() / 2, 20] {
        fs::write(&path, &whole[..length]).expect("there is room");
        let (state, found) = open(&path, at(5), None);
        assert!(state.is_some() && found.open.is_none());
        assert!(found.warnings[0].contains("the run starts without it: it is damaged"), "{:?}", found.warnings);
    }
    fs::write(&path, [b"flowml state 99\n", &whole[..]].concat()).expect("there is room");
    let (state, found) = open(&path, at(5), None);
    assert!(state.is_some() && found.warnings[0].contains("layout 99"), "{:?}", found.warnings);
    fs::write(&path, "somebody's").expect("there is room");
    let (state, found) = open(&path, at(5), None);
    assert!(state.is_none() && found.warnings[0].contains("the file is not changed"), "{:?}", found.warnings);
    let nowhere = folder.path().join("no such folder/state");
    let (state, _) = open(&nowhere, at(5), None);
    let rows = folder.path().join("rows.jsonl");
    let mut pipeline = begun(&rows, None, 0);
    absorb(&mut pipeline, &[tcp(SECOND, "10.0.0.1:1", "10.0.0.2:80", ACK)]);
    let finished = pipeline.leave(&mut state.expect("it may be written to"), Clock::default());
    assert!(finished.conserved && finished.left == Left::default());
    assert_eq!(lines(&rows).len(), 2, "what cannot be left ends: a flow and the summary");
}

#[test]
fn sessions_without_time_to_be_saved_are_counted() {
    let folder = tempfile::tempdir().expect("there is room");
    let mut pipeline = with_open(folder.path(), 200, 1);
    let mut to = Writer::new(Vec::new()).expect("memory");
    let left = pipeline.sessions.save(&mut to, |place, _| place < 120).expect("memory");
    // If the file cannot be completed, all of them can still become records.
    assert_eq!((left.sessions, pipeline.sessions.len()), (120, 200));
    assert_eq!([50; 3].map(|at_most| pipeline.sessions.take_unsaved(at_most).len()), [50, 30, 0]);
    let mut again = Sessions::new(Timeouts::default());
    let bytes = to.finish().expect("memory");
    let mut from = Reader::new(&bytes[..]).expect("a file");
    assert_eq!(again.restore(&mut from).expect("as it was written"), left);
    assert_eq!(again.len(), 120);
}

/// The shape of a value: the distinct shapes of a sequence's elements, or all members of a map with their names.
struct Shape(String);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Shapes)
    }
}

struct Shapes;

impl<'de> serde::de::Visitor<'de> for Shapes {
    type Value = Shape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape("bool".to_owned()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape("number".to_owned()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape("number".to_owned()))
    }

    fn visit_f32<E>(self, _: f32) -> Result<Shape, E> {
        Ok(Shape("f32".to_owned()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape("f64".to_owned()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Shape, E> {
        Ok(Shape(text.to_owned()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Shape, E> {
        Ok(Shape(format!("{} bytes", bytes.len())))
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape("nothing".to_owned()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shapes = std::collections::BTreeSet::new();
        while let Some(Shape(shape)) = seq.next_element()? {
            shapes.insert(shape);
        }
        Ok(Shape(format!("[{}]", Vec::from_iter(shapes).join(" "))))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut shapes = std::collections::BTreeSet::new();
        while let Some((Shape(key), Shape(value))) = map.next_entry()? {
            shapes.insert(format!("{key}: {value}"));
        }
        Ok(Shape(format!("{{{}}}", Vec::from_iter(shapes).join(" "))))
    }
}

/// Whoever changes the state must raise [`LAYOUT`], and update the digest here.
#[test]
fn a_changed_layout_has_a_new_number() {
    let folder = tempfile::tempdir().expect("there is room");
    let mut pipeline = with_open(folder.path(), 3, 2);
    pipeline.learners = Some(learners(Begin::Builtin(Builtin::Both)));
    absorb(&mut pipeline, &packets(&[Step::Scan { ports: 60, pause_ms: 2000 }]));
    assert!(pipeline.end_interval(6 * SECOND, Clock::default()).is_continue());
    let mut named = Vec::new();
    let sessions: Vec<_> = pipeline.sessions.all().collect();
    let moment = Moment { boot: String::new(), ..at(5) };
    let kept = (&pipeline.windows, &pipeline.tests, &pipeline.incidents, sessions, moment, ORIGIN);
    rmp_serde::encode::write_named(&mut named, &kept).expect("memory");
    rmp_serde::encode::write_named(&mut named, &pipeline.learners.as_ref().expect("learners").kept()).expect("memory");
    let mut from = &named[..];
    let shapes: [Shape; 2] = std::array::from_fn(|_| rmp_serde::from_read(&mut from).expect("a value"));
    let digest = sha1::Sha1::digest(shapes.map(|shape| shape.0).concat());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((LAYOUT, digest.as_str()), (9, "367add64e97e2f53"));
}
