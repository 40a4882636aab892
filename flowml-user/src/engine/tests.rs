//! Tests of the pipeline's accounting and clocks.
//!
//! Under every level of overload each packet and byte is in one row, and busy flows have their own records. However the
//! host's clock is set, records differ only in their Unix times.

use std::collections::HashMap;
use std::fs;

use bytemuck::Zeroable;
use flowml_common::flow::{ACK, SYN};
use flowml_common::table::Head;
use proptest::prelude::*;
use serde_json::Value;

use super::{Level, Pipeline};
use crate::export::{Pace, Sinks, Target};
use crate::features::FlowColumns;
use crate::record::Clock;
use crate::session::Timeouts;
use crate::session::samples::{Sample, counted_of, tcp};

/// A packet: its flow, and the time since the previous packet.
#[derive(Clone, Debug)]
struct Step {
    flow: u16,
    pause_ms: u64,
    /// The level of overload from this packet on.
    level: Level,
}

fn level() -> impl Strategy<Value = Level> {
    let levels = [Level::None, Level::Reasons, Level::Scores, Level::Records, Level::Sessions];
    (0..levels.len()).prop_map(move |at| levels[at])
}

fn step() -> impl Strategy<Value = Step> {
    let pause_ms = prop_oneof![8 => 0..200u64, 1 => 1000..20_000u64];
    (0..60u16, pause_ms, level()).prop_map(|(flow, pause_ms, level)| Step { flow, pause_ms, level })
}

fn packet(flow: u16, time_ns: u64) -> Sample {
    tcp(time_ns, &format!("10.0.0.9:{}", 1000 + flow), &format!("10.0.1.{}:80", flow % 7), ACK)
}

/// A pipeline without models, and its rows, which can be read after its end.
fn pipeline(folder: &tempfile::TempDir) -> (Pipeline, impl FnOnce() -> Vec<Value> + use<>) {
    let path = folder.path().join("rows.jsonl");
    let target: Target = format!("jsonl={}", path.display()).parse().expect("a target");
    let sinks = Sinks::open(&[target], FlowColumns::Headers, Pace::Offline).expect("the folder is ours");
    let pipeline = Pipeline::new(Timeouts::default(), Vec::new(), None, sinks, 0, 0);
    let rows = move || {
        let text = fs::read_to_string(path).expect("it was written");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    (pipeline, rows)
}

/// Processes packets as one epoch.
pub(super) fn absorb(pipeline: &mut Pipeline, packets: &[Sample]) {
    let mut flows: HashMap<_, Vec<Sample>> = HashMap::new();
    packets.iter().for_each(|packet| flows.entry((packet.source, packet.destination)).or_default().push(*packet));
    let partials: Vec<_> = flows.values().map(|samples| counted_of(samples)).collect();
    let mut head = Head::zeroed();
    for (key, value) in &partials {
        let partial = value.counted(key).partial_flow();
        head.received.add(partial.stats.packets(), partial.stats.frame_bytes());
    }
    pipeline.absorb(&head, 0.0, partials.iter().map(|(key, value)| value.counted(key)));
}

fn of<'a>(rows: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    rows.iter().filter(move |row| row["type"] == kind)
}

fn sum<'a>(rows: impl Iterator<Item = &'a Value>, name: &str) -> u64 {
    rows.map(|row| row[name].as_u64().expect(name)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_packet_is_in_one_row_at_every_level_of_overload(
        steps in prop::collection::vec(step(), 1..300),
        epoch in 1..40usize,
        capacity in 2..80usize,
        most_at_once in 1..50usize,
    ) {
        let folder = tempfile::tempdir().expect("there is room");
        let (mut pipeline, rows) = pipeline(&folder);
        pipeline.sessions = pipeline.sessions.with_capacity(capacity).with_most_at_once(most_at_once);
        let mut time_ns = 1_000_000_000;
        for epoch in steps.chunks(epoch) {
            let packets: Vec<Sample> = epoch.iter().map(|step| {
                time_ns += step.pause_ms * 1_000_000 + 1000;
                packet(step.flow, time_ns)
            }).collect();
            pipeline.leave_out(epoch[0].level);
            absorb(&mut pipeline, &packets);
            prop_assert!(pipeline.end_interval(time_ns, Clock::default()).is_continue());
        }
        prop_assert!(pipeline.finish(Clock::default()).conserved);
        let rows = rows();
        let summary = rows.last().expect("a summary");
        let aggregated = sum(of(&rows, "aggregate"), "bidirectional_packets");
        prop_assert_eq!(sum(of(&rows, "flow"), "bidirectional_packets") + aggregated, steps.len() as u64);
        prop_assert_eq!(&summary["packets_in_flows"], steps.len());
        prop_assert_eq!(&summary["packets_aggregated"], aggregated);
        prop_assert_eq!(&summary["bytes_aggregated"], sum(of(&rows, "aggregate"), "frame_bytes"));
        prop_assert_eq!(&summary["aggregates"], of(&rows, "aggregate").count());
        prop_assert_eq!(&summary["shed"]["records"], sum(of(&rows, "aggregate"), "flows"));
        prop_assert!(summary["shed"]["sessions"].as_u64() <= summary["shed"]["records"].as_u64());
    }
}

/// The flow rows of a run, given the steps of the host's clock before each epoch, s.
fn flows_by(clock_steps: &[i64], epochs: &[Vec<Sample>]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("there is room");
    let (mut pipeline, rows) = pipeline(&folder);
    let mut unix_s = 1_700_000_000_i64;
    let mut clock = Clock::default();
    for (epoch, step) in epochs.iter().zip(clock_steps) {
        unix_s += step;
        let end_ns = epoch.last().expect("epochs have packets").time_ns;
        clock = Clock::new(end_ns, u64::try_from(unix_s).expect("after 1970") * 1_000_000_000 + end_ns);
        absorb(&mut pipeline, epoch);
        assert!(pipeline.end_interval(end_ns, clock).is_continue());
    }
    assert!(pipeline.finish(clock).conserved);
    of(&rows(), "flow").cloned().collect()
}

/// Checks that the Unix times of a row agree with its duration, and returns the row without them.
fn without_times(mut row: Value) -> Value {
    let columns = row.as_object_mut().expect("a row");
    let ms = |name: &str| columns[name].as_u64().expect(name);
    let passed = ms("bidirectional_last_seen_ms").checked_sub(ms("bidirectional_first_seen_ms"));
    let passed = passed.expect("the last packet is not before the first");
    let duration = columns["bidirectional_duration_ms"].as_f64().expect("a duration");
    // Both times are whole ms.
    assert!((passed as f64 - duration).abs() <= 1.0, "{passed} of {duration}");
    columns.retain(|name, _| !name.ends_with("_seen_ms"));
    row
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The clock is set back and forth while packets arrive, or the host sleeps, during which its monotonic clock
    /// stands still.
    #[test]
    fn records_do_not_depend_on_steps_of_the_clock(
        steps in prop::collection::vec(step(), 1..200),
        clock_steps in prop::collection::vec(prop_oneof![3 => Just(0), 1 => -86_400..86_400i64, 1 => -2..2i64], 200),
        epoch in 1..20usize,
    ) {
        let mut time_ns = 1_000_000_000;
        let packets: Vec<Sample> = steps.iter().map(|step| {
            time_ns += step.pause_ms * 1_000_000 + 1000;
            packet(step.flow, time_ns)
        }).collect();
        let epochs: Vec<Vec<Sample>> = packets.chunks(epoch).map(<[Sample]>::to_vec).collect();
        let [steady, stepped] = [&[0; 200][..], &clock_steps].map(|steps| flows_by(steps, &epochs));
        let [steady, stepped] = [steady, stepped].map(|rows| rows.into_iter().map(without_times).collect::<Vec<_>>());
        prop_assert_eq!(steady, stepped);
    }
}

#[test]
fn flows_of_several_packets_have_records_and_others_are_aggregated() {
    let folder = tempfile::tempdir().expect("there is room");
    let (mut pipeline, rows) = pipeline(&folder);
    pipeline.leave_out(Level::Records);
    let second = 1_000_000_000;
    // The first packet of the busy flow is in its own drain.
    absorb(&mut pipeline, &(0..500).map(|flow| packet(7 * flow, second)).collect::<Vec<_>>());
    absorb(&mut pipeline, &[packet(0, 2 * second), packet(0, 2 * second + 1)]);
    assert!(pipeline.end_interval(3 * second, Clock::default()).is_continue());
    assert!(pipeline.finish(Clock::default()).conserved);
    let rows = rows();
    let [flow] = of(&rows, "flow").collect::<Vec<_>>()[..] else { panic!("one busy flow") };
    assert_eq!((&flow["src_port"], &flow["bidirectional_packets"]), (&1000.into(), &3.into()));
    let [aggregate] = of(&rows, "aggregate").collect::<Vec<_>>()[..] else { panic!("one target") };
    let common = ["dst_ip", "dst_port", "protocol", "flows"].map(|name| &aggregate[name]);
    assert_eq!(common, [&Value::from("10.0.1.0"), &80.into(), &6.into(), &499.into()]);
}

#[test]
fn under_overload_an_incident_does_not_wait_for_the_end_of_the_interval() {
    let (second, clock) = (1_000_000_000, Clock::default());
    for (level, early) in [(Level::None, 0), (Level::Reasons, 1)] {
        let folder = tempfile::tempdir().expect("there is room");
        let (mut pipeline, rows) = pipeline(&folder);
        pipeline.leave_out(level);
        let syn = |n| tcp(second + n, &format!("10.1.{}.{}:1000", n / 250, n % 250), "10.0.1.1:80", SYN);
        absorb(&mut pipeline, &(0..2000).map(syn).collect::<Vec<_>>());
        pipeline.report_early(second + 1000, clock);
        assert_eq!(pipeline.incidents.open().count(), 0, "an answer may still arrive");
        absorb(&mut pipeline, &[packet(0, 2 * second + 2000)]);
        pipeline.report_early(2 * second + 3000, clock);
        assert_eq!(pipeline.incidents.open().count(), early, "{level:?}");
        assert!(pipeline.end_interval(2 * second + 4000, clock).is_continue());
        assert!(pipeline.finish(clock).conserved);
        let rows = rows();
        let states: Vec<_> = of(&rows, "incident").map(|row| (&row["kind"], &row["state"])).collect();
        let flood = Value::from("syn_flood");
        assert_eq!(states, [(&flood, &"open".into()), (&flood, &"closed".into())], "{level:?}");
    }
}

#[test]
fn nothing_is_left_out_without_overload() {
    let folder = tempfile::tempdir().expect("there is room");
    let (mut pipeline, rows) = pipeline(&folder);
    absorb(&mut pipeline, &(0..100).map(|flow| packet(flow, 5)).collect::<Vec<_>>());
    assert!(pipeline.finish(Clock::default()).conserved);
    let rows = rows();
    assert_eq!((of(&rows, "flow").count(), of(&rows, "aggregate").count()), (100, 0));
    let none = serde_json::json!({"reasons": 0, "scores": 0, "records": 0, "sessions": 0});
    assert_eq!(rows.last().map(|row| &row["shed"]), Some(&none));
}
