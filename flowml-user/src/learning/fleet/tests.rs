//! Tests of merging: the result is that of a central pass, and what is not a row of the schema is refused.

use std::path::Path;
use std::sync::OnceLock;

use flowml_common::flow::Address;
use ndarray::{Array2, ArrayView1};
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;
use rand_xoshiro::Xoshiro256Plus;
use serde_json::{Value, json};

use super::*;
use crate::features::{Column, Learn};
use crate::learning::model_file::TrafficModel;
use crate::learning::online::fitted::{Fitted, Scratch};
use crate::learning::statistics::{ClusterSums, Gathered};
use crate::learning::{
    Below, Eligibility, FeedbackClass, FeedbackLabel, FleetState, Learner, ModelEvent, Promotion, Settings,
};

const fn column(name: &'static str, learn: Learn) -> Column {
    Column { name, unit: "", meaning: "", learn }
}

const COLUMNS: [Column; 4] = [
    column("bytes", Learn::LogScaled),
    column("share", Learn::Ratio),
    column("kind", Learn::Category),
    column("packets", Learn::LogScaled),
];

/// Rows of two kinds of hosts. `shift` makes them send more.
fn rows(number: usize, shift: f64, rng: &mut Xoshiro256Plus) -> Array2<f64> {
    let mut rows = Array2::zeros((number, COLUMNS.len()));
    for mut row in rows.rows_mut() {
        let is_server = rng.gen_bool(0.3);
        let mut normal = || rng.sample::<f64, _>(StandardNormal);
        let size = if is_server { 9.0 } else { 5.0 } + shift;
        row[0] = (size + normal()).exp();
        row[1] = (0.3 + 0.05 * normal()).clamp(0.0, 1.0);
        row[2] = if is_server { 6.0 } else { 17.0 };
        row[3] = (size / 2.0 + 0.7 * normal()).exp();
    }
    rows
}

fn settings() -> Settings {
    Settings { clusters: Some(4), alpha: 1e-3, below: Below::PAUSES, warm_up_batches: u32::MAX, ..Settings::default() }
}

/// The first model of a fleet.
fn first() -> TrafficModel {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TrafficModel::parse(Path::new("first.json"), TEXT.get_or_init(trained)).expect("it is a model")
}

/// The file of a model of the traffic without a shift.
fn trained() -> Vec<u8> {
    let mut rng = Xoshiro256Plus::seed_from_u64(1);
    let mut learner = Learner::new(COLUMNS.to_vec(), settings());
    (0..40).for_each(|_| drop(learner.observe(rows(30, 0.0, &mut rng).view())));
    assert!(learner.fit());
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("model.json");
    TrafficModel::write(&path, &[("flows", &learner)]).expect("there is room");
    std::fs::read(&path).expect("it was just written")
}

fn parsed(merged: &Merged) -> TrafficModel {
    TrafficModel::parse(Path::new("next.json"), merged.text.as_bytes()).expect("it was just made")
}

fn learner_of(model: &TrafficModel) -> Learner {
    model.learner("flows", COLUMNS.to_vec()).expect("it is a model").expect("it has this learner")
}

fn model_of(model: &TrafficModel) -> Fitted {
    model.models().expect("it is a model").remove(0).2
}

/// An agent with a model of the fleet, which gathers statistics.
fn agent(model: &TrafficModel) -> Promotion {
    let mut promotion = Promotion::of(learner_of(model));
    promotion.gather(Some(model.identity()));
    promotion
}

fn observe(agent: &mut Promotion, rows: &Array2<f64>) {
    let hosts: Vec<Address> = (0..rows.nrows() as u32).map(Address::from_v4).collect();
    agent.observe(rows.view(), &vec![Eligibility::Welcome; rows.nrows()], &hosts);
}

/// A row as it is sent.
fn sent((model, cluster, sums): &Gathered, sender: Option<(&str, u64)>) -> Value {
    let ClusterSums { rows, distance, sums, squares, scores } = sums;
    let mut row = json!({
        "type": "statistics", "model": model.hash, "model_number": model.number, "learner": "flows", "cluster": cluster,
        "start_ms": 60_000, "end_ms": 120_000, "rows": rows, "distance": distance, "sums": sums, "squares": squares,
        "scores": scores,
    });
    if let Some((agent, sequence)) = sender {
        (row["agent"], row["generation"], row["sequence"]) = (agent.into(), 7.into(), sequence.into());
    }
    row
}

fn merge(model: TrafficModel, rows: &[Value]) -> Result<Merged, FleetError> {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let mut merge = Merge::new(model)?;
    merge.add("rows", lines.as_bytes())?;
    merge.finish()
}

/// Fails if two JSON values differ by more than 1e-9, relative to numbers above 1.
fn assert_close(one: &Value, other: &Value, place: &str) {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|number| number.as_f64().expect("a number"));
            assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{place}: {a} and {b}");
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(at, (a, b))| assert_close(a, b, &format!("{place}/{at}")));
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            a.iter().for_each(|(key, value)| assert_close(value, &b[key], &format!("{place}/{key}")));
        }
        (a, b) => assert_eq!(a, b, "{place}"),
    }
}

fn contents(merged: &Merged) -> Value {
    serde_json::from_str(&merged.text).expect("it is JSON")
}

/// The rows of several agents, some of which see other traffic, and the statistics of each minute.
fn fleet(model: &TrafficModel, agents: u64) -> Vec<(String, Vec<Gathered>)> {
    let mut rng = Xoshiro256Plus::seed_from_u64(2);
    let mut all = Vec::new();
    for number in 0..agents {
        let mut agent = agent(model);
        for _minute in 0..3 {
            for _ in 0..60 {
                let batch = rng.gen_range(0..9);
                observe(&mut agent, &rows(batch, 0.4 * number as f64 / agents as f64, &mut rng));
            }
            all.push((format!("agent{number}"), agent.take_statistics()));
        }
    }
    all
}

fn all_sent(gathered: &[(String, Vec<Gathered>)]) -> Vec<Value> {
    let rows = gathered.iter().flat_map(|(agent, rows)| rows.iter().map(move |row| (agent, row)));
    (0..).zip(rows).map(|(sequence, (agent, row))| sent(row, Some((agent, sequence)))).collect()
}

#[test]
fn merged_statistics_are_those_of_a_central_pass_over_all_rows() {
    let model = first();
    let parent = model_of(&model);
    let mut rng = Xoshiro256Plus::seed_from_u64(3);
    // In the central pass, the vectors of all rows are in one place, by cluster.
    let mut vectors = vec![Vec::<Vec<f64>>::new(); parent.clusters.len()];
    let mut distances = vec![0.0; vectors.len()];
    let mut gathered = Vec::new();
    let mut scratch = Scratch::default();
    for agent_number in 0..5 {
        let mut agent = agent(&model);
        for _ in 0..400 {
            let row = rows(1, 0.1 * f64::from(agent_number), &mut rng);
            observe(&mut agent, &row);
            // The agent states whether it has used the row. What it adds up is not looked at here.
            let taken = agent.take_statistics();
            if taken.iter().any(|(.., sums)| sums.rows > 0) {
                let nearest = parent.score(ArrayView1::from(row.row(0)), &mut scratch);
                distances[nearest.cluster] += nearest.distance2;
                vectors[nearest.cluster].push(scratch.vector.clone());
            }
            gathered.push((format!("agent{agent_number}"), taken));
        }
    }
    let merged = merge(first(), &all_sent(&gathered)).expect("the rows are valid");
    let next = model_of(&parsed(&merged));
    assert_eq!(merged.learners[0].rows, vectors.iter().map(Vec::len).sum::<usize>() as u64);
    assert_eq!(merged.learners[0].rescaled, 0, "the traffic is that of the parent");
    assert_eq!(next.scaler, parent.scaler);
    for (cluster, vectors) in vectors.iter().enumerate() {
        let rows = vectors.len() as f64;
        let mean = |feature: usize| vectors.iter().map(|vector| vector[feature]).sum::<f64>() / rows;
        let means: Vec<f64> = (0..next.clusters.width()).map(mean).collect();
        for (own, mean) in next.clusters.centroid(cluster).zip(&means) {
            assert!((own - mean).abs() < 1e-9, "cluster {cluster}: {own}, {mean}");
        }
        let around = |center: &[f64]| {
            let of = |vector: &Vec<f64>| vector.iter().zip(center).map(|(x, c)| (x - c) * (x - c)).sum::<f64>();
            vectors.iter().map(of).sum::<f64>()
        };
        let old: Vec<f64> = parent.clusters.centroid(cluster).collect();
        let spread = distances[cluster] / (rows - 1.0) * around(&means) / around(&old);
        assert_eq!(next.clusters.rows[cluster], rows);
        assert!((next.clusters.spread[cluster] - spread).abs() < 1e-9 * spread.max(1.0), "cluster {cluster}");
    }
}

#[test]
fn the_order_of_rows_their_division_and_doubled_rows_do_not_matter() {
    let model = first();
    let gathered = fleet(&model, 8);
    let mut rows = all_sent(&gathered);
    let reference = merge(first(), &rows).expect("the rows are valid");
    assert_eq!((reference.agents, reference.doubled, reference.identity.number), (8, 0, 1));

    let mut rng = Xoshiro256Plus::seed_from_u64(4);
    let doubled: Vec<Value> = rows.choose_multiple(&mut rng, 40).cloned().collect();
    rows.extend(doubled);
    rows.push(json!({"type": "flow", "src_ip": "192.0.2.1"}));
    rows.shuffle(&mut rng);
    let shuffled = merge(first(), &rows).expect("the rows are valid");
    assert_eq!((shuffled.taken, shuffled.doubled, shuffled.other), (reference.taken, 40, 1));
    assert_close(&contents(&shuffled), &contents(&reference), "");

    // As an engine adds them.
    let mut sums: Vec<Gathered> = Vec::new();
    for row in gathered.iter().flat_map(|(_, rows)| rows) {
        match sums.iter_mut().find(|(_, cluster, _)| *cluster == row.1) {
            None => sums.push(row.clone()),
            Some((.., sum)) => {
                let add =
                    |own: &mut Vec<f64>, more: &[f64]| own.iter_mut().zip(more).for_each(|(own, more)| *own += more);
                (sum.rows, sum.distance) = (sum.rows + row.2.rows, sum.distance + row.2.distance);
                add(&mut sum.sums, &row.2.sums);
                add(&mut sum.squares, &row.2.squares);
                sum.scores.iter_mut().zip(&row.2.scores).for_each(|(own, more)| *own += more);
            }
        }
    }
    let of_engine: Vec<Value> = sums.iter().map(|row| sent(row, None)).collect();
    let added = merge(first(), &of_engine).expect("the rows are valid");
    assert_eq!((added.agents, added.taken), (0, sums.len() as u64));
    assert_close(&contents(&added), &contents(&reference), "");
}

/// The fraction of rows with a probability below `level`.
fn below(learner: &Learner, rows: &Array2<f64>, level: f64) -> f64 {
    let verdicts = learner.judge(rows.view());
    verdicts.iter().flatten().filter(|verdict| verdict.probability < level).count() as f64 / rows.nrows() as f64
}

#[test]
fn probabilities_of_the_merged_model_hold_for_the_traffic_of_the_fleet() {
    let mut model = first();
    let mut rng = Xoshiro256Plus::seed_from_u64(5);
    let others = rows(20_000, 0.8, &mut rng);
    let before = below(&learner_of(&model), &others, 0.1);
    // Each model is closer to traffic that has changed.
    for number in 1..=3 {
        let mut agents: Vec<Promotion> = (0..10).map(|_| agent(&model)).collect();
        let mut gathered = Vec::new();
        for (number, agent) in agents.iter_mut().enumerate() {
            (0..100).for_each(|_| observe(agent, &rows(20, 0.8, &mut rng)));
            gathered.push((number.to_string(), agent.take_statistics()));
        }
        let merged = merge(model, &all_sent(&gathered)).expect("the rows are valid");
        model = parsed(&merged);
        assert_eq!(model.identity(), merged.identity);
        assert_eq!(merged.identity.number, number);
    }
    let learner = learner_of(&model);
    // Beyond the counted scores the tail errs on the side of fewer alarms.
    for (level, least, most) in [(0.1, 0.05, 0.15), (0.01, 0.0025, 0.02), (0.001, 0.0, 0.003)] {
        let found = below(&learner, &others, level);
        assert!((least..most).contains(&found), "{found} are below {level}; {before} were below 0.1");
    }
}

#[test]
fn a_column_that_varies_more_or_less_than_before_gets_a_new_scale() {
    let model = first();
    let width = model_of(&model).clusters.width();
    let total = |spread: f64| {
        let sums = ClusterSums {
            rows: 1000,
            distance: 1000.0,
            sums: vec![0.0; width],
            squares: (0..width).map(|feature| if feature == 0 { spread * spread * 1000.0 } else { 1000.0 }).collect(),
            scores: std::iter::once(1000).chain([0; 255]).collect(),
        };
        sent(&(model.identity(), 0, sums), None)
    };
    let scale = |model: &Fitted| serde_json::to_value(&model.scaler).expect("JSON")["columns"][0]["scale"].clone();
    let before = scale(&model_of(&model)).as_f64().expect("a number");
    for (spread, expected) in [(1.0, before), (1.9, before), (0.6, before), (3.0, 3.0 * before), (0.01, 0.25)] {
        let merged = merge(first(), &[total(spread)]).expect("the rows are valid");
        let next = scale(&model_of(&parsed(&merged))).as_f64().expect("a number");
        assert!((next - expected).abs() < 1e-9, "{spread}: {next}, not {expected}");
        assert_eq!(merged.learners[0].rescaled, usize::from(expected != before), "{spread}");
    }
}

#[test]
fn clusters_stay_as_they_are_while_statistics_are_gathered_and_the_file_keeps_their_model() {
    let model = first();
    let mut promotion = agent(&model);
    let mut rng = Xoshiro256Plus::seed_from_u64(6);
    let before = model_of(&model);
    (0..50).for_each(|_| observe(&mut promotion, &rows(20, 0.5, &mut rng)));
    let after = promotion.acting().fitted().expect("it has a model");
    assert_eq!((&after.clusters, &after.scaler), (&before.clusters, &before.scaler));
    assert_ne!(after.calibration, before.calibration, "probabilities follow the rows");
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("own.json");
    TrafficModel::write(&path, &[("flows", promotion.acting())]).expect("there is room");
    let own = TrafficModel::read(&path).expect("it was just written");
    assert_ne!(own.identity().hash, model.identity().hash);
    let again = agent(&own);
    assert_eq!(again.acting().fixed(), Some(&model.identity()));
}

#[test]
fn what_is_not_a_row_of_the_schema_is_refused_with_the_reason() {
    let model = first();
    let valid = all_sent(&fleet(&model, 2));
    let (hash, other) = (model.identity().hash.to_string(), "0".repeat(64));
    let at = valid.iter().position(|row| row["rows"].as_u64() > Some(3)).expect("a row of some rows");
    let change = |key: &str, value: Value| {
        let mut row = valid[at].clone();
        row[key] = value;
        row.to_string()
    };
    let element = |key: &str, place: usize, value: Value| {
        let mut row = valid[at].clone();
        row[key][place] = value;
        row.to_string()
    };
    let without = |key: &str| {
        let mut row = valid[at].clone();
        row.as_object_mut().expect("an object").remove(key);
        row.to_string()
    };
    let of_other = format!("the statistics are of the model {other}; expected {hash}");
    let cases: Vec<(String, &str)> = vec![
        ("nonsense".to_owned(), "expected a row of statistics as a JSON object"),
        ("{nonsense}".to_owned(), "expected a row of statistics as a JSON object: key must be a string"),
        ("[]".to_owned(), "as a JSON object"),
        ("7".to_owned(), "as a JSON object"),
        (valid[at].to_string()[..300].to_owned(), "EOF while parsing"),
        (valid[at].to_string().replacen("\"rows\":", "\"rows\":NaN,\"x\":", 1), "expected value"),
        (valid[at].to_string().replacen("\"distance\":", "\"distance\":1e999,\"x\":", 1), "number out of range"),
        (valid[at].to_string().replacen("\"rows\":", "\"rows\":5,\"rows\":", 1), "duplicate field `rows`"),
        (change("src_ip", "192.0.2.1".into()), "unknown field `src_ip`"),
        (change("model", other.clone().into()), &of_other),
        (change("model", "abc".into()), "expected a SHA-256 hash of 64 hexadecimal digits"),
        (change("model_number", 3.into()), "'model_number' is 3; expected 0"),
        (change("learner", "hosts".into()), "'learner' is \"hosts\"; expected 'flows'"),
        (change("cluster", 99.into()), "'cluster' is 99; expected 0 to 3"),
        (change("rows", (-1).into()), "invalid value: integer `-1`, expected u64"),
        (change("rows", 1.5.into()), "invalid type: floating point `1.5`, expected u64"),
        (change("rows", u64::MAX.into()), "expected at most 9007199254740992"),
        (change("rows", 100_000.into()), "'scores' count"),
        (change("distance", (-0.5).into()), "'distance' is -0.5; expected 0 to"),
        (change("distance", 1e60.into()), "'distance' is 1000"),
        (change("distance", Value::Null), "invalid type: null, expected f64"),
        (change("sums", json!([])), "'sums' has 0 values; expected 6"),
        (change("squares", json!([1.0])), "'squares' has 1 values; expected 6"),
        (change("scores", json!([1])), "'scores' has 1 values; expected 256"),
        (change("sums", json!("x")), "invalid type: string"),
        (element("sums", 1, 1e9.into()), "'sums' has the value 1000000000 at 1"),
        (element("squares", 2, (-1.0).into()), "'squares' has the value -1 at 2"),
        (element("squares", 0, 1e9.into()), "'squares' has the value 1000000000 at 0"),
        (element("scores", 9, (-3).into()), "invalid value: integer `-3`, expected u64"),
        (element("scores", 9, u64::MAX.into()), "the sum of 'scores' is above"),
        (change("end_ms", 5.into()), "'end_ms' is 5; expected at least 'start_ms'"),
        (change("agent", "".into()), "'agent' has 0 bytes; expected 1 to 128"),
        (without("sequence"), "expected all of 'agent', 'generation' and 'sequence', or none of them"),
        (without("scores"), "missing field `scores`"),
        ("x".repeat(1 << 21), "longer than 1048576 bytes"),
    ];
    for (line, expected) in cases {
        let mut merge = Merge::new(first()).expect("it is a model");
        let text = format!("\n{}\n{line}\n", valid[0]);
        let error = merge.add("rows.jsonl", text.as_bytes()).expect_err(expected).to_string();
        assert!(error.starts_with("rows.jsonl:3: ") && error.contains(expected), "{expected}: {error}");
    }
    // The same number with other values.
    let mut forged = valid[at].clone();
    forged["distance"] = 0.0.into();
    let error = merge(first(), &[valid[at].clone(), forged]).expect_err("it is forged").to_string();
    assert!(error.ends_with("an earlier row with the same agent, generation and sequence has other values"), "{error}");
    let error = merge(first(), &valid[..1]).expect_err("they are few").to_string();
    assert!(error.ends_with("of flows; expected at least 300 of one of them"), "{error}");
}

#[test]
fn a_file_of_the_fleet_keeps_number_and_parent_and_other_versions_stay_readable() {
    let model = first();
    let merged = merge(first(), &all_sent(&fleet(&model, 8))).expect("the rows are valid");
    let next = parsed(&merged);
    let fleet = next.fleet().expect("it is of a fleet");
    assert_eq!((fleet.number, fleet.parent), (1, model.identity().hash));
    assert!(
        merged.text.starts_with(
            "{\n  \"format\": \"flowml-model\",\n  \"version\": 8,\n  \"kind\": \"traffic\",\n  \"fleet\""
        )
    );
    assert_eq!(learner_of(&next).fixed(), Some(&merged.identity));
    assert!(model.fleet().is_none() && learner_of(&model).fixed().is_none());
    let refused =
        |text: String| TrafficModel::parse(Path::new("a.json"), text.as_bytes()).map(|_| ()).expect_err("it is none");
    for (text, expected) in [
        (merged.text.replacen("\"version\": 8", "\"version\": 7", 1), "expected the member 'fleet' in version 8 only"),
        (merged.text.replacen("\"version\": 8", "\"version\": 9", 1), "version 9; train the model again"),
        (merged.text.replacen("\"number\": 1", "\"number\": 0", 1), "fleet: expected a 'number' from 1"),
        (merged.text.replacen("\"parent\": \"", "\"parent\": \"z", 1), "expected a SHA-256 hash"),
    ] {
        let error = refused(text).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn any_line_is_refused_or_added_without_a_panic(line in "\\PC{0,200}") {
        let mut merge = Merge::new(first()).expect("it is a model");
        let _ = merge.add("x", line.as_bytes());
        prop_assert!(merge.finish().is_err());
    }
}

/// A model of the fleet whose traffic has this shift, after some merges.
fn model_of_fleet(shift: f64, rng: &mut Xoshiro256Plus) -> TrafficModel {
    let mut model = first();
    for _ in 0..3 {
        let mut agent = agent(&model);
        (0..300).for_each(|_| observe(&mut agent, &rows(20, shift, rng)));
        model = parsed(&merge(model, &all_sent(&[("a".to_owned(), agent.take_statistics())])).expect("valid rows"));
    }
    model
}

/// An agent that has its own model of traffic with this shift.
fn with_own_model(shift: f64, rng: &mut Xoshiro256Plus) -> Promotion {
    let mut learner = Learner::new(COLUMNS.to_vec(), settings());
    (0..40).for_each(|_| drop(learner.observe(rows(30, shift, rng).view())));
    assert!(learner.fit());
    Promotion::of(learner)
}

#[test]
fn a_merged_model_is_promoted_on_the_traffic_of_the_fleet_and_refused_on_other_traffic() {
    let mut rng = Xoshiro256Plus::seed_from_u64(7);
    let model = model_of_fleet(0.8, &mut rng);
    let identity = model.identity();
    // Hosts of less activity would be normal to it: values below a centroid count less.
    for (shift, state) in [(0.8, FleetState::InUse), (4.0, FleetState::Refused)] {
        let mut agent = with_own_model(shift, &mut rng);
        agent.gather(None);
        agent.offer(learner_of(&model), false);
        assert_eq!(agent.offered(), Some((identity, FleetState::Trial)));
        assert_eq!(agent.events(), [ModelEvent::FleetTrial(identity)]);
        (0..40).for_each(|_| observe(&mut agent, &rows(20, shift, &mut rng)));
        assert_eq!(agent.offered(), Some((identity, state)), "{shift}");
        let events = agent.events();
        let is_in_use = state == FleetState::InUse;
        match &events[..] {
            [event @ ModelEvent::FleetPromoted(..)] if is_in_use => assert!(!event.is_warning()),
            [event @ ModelEvent::FleetRefused(..)] if !is_in_use => {
                assert!(event.is_warning());
                let text = event.to_string();
                let begin = format!("model {identity} of the fleet is refused, because its probabilities do not hold");
                assert!(text.starts_with(&begin), "{text}");
            }
            _ => panic!("{shift}: {events:?}"),
        }
        assert_eq!(agent.acting().fixed().is_some(), is_in_use);
        // An agent sends statistics as soon as it uses the model.
        assert_eq!(agent.take_statistics().is_empty(), !is_in_use);
        // The same file once more, as at the next start, and as at SIGHUP.
        agent.offer(learner_of(&model), false);
        assert_eq!(agent.offered(), Some((identity, state)));
        agent.offer(learner_of(&model), true);
        let again = if is_in_use { FleetState::InUse } else { FleetState::Trial };
        assert_eq!(agent.offered(), Some((identity, again)));
    }
}

#[test]
fn feedback_labels_of_an_agent_apply_to_a_model_of_the_fleet() {
    let mut rng = Xoshiro256Plus::seed_from_u64(8);
    let model = model_of_fleet(0.0, &mut rng);
    let mut agent = with_own_model(0.0, &mut rng);
    let labelled = rows(1, 3.0, &mut rng);
    agent.acting_mut().label(FeedbackLabel::new(
        "backup".to_owned(),
        FeedbackClass::Benign,
        &[labelled.row(0).to_vec()],
    ));
    agent.offer(learner_of(&model), false);
    (0..40).for_each(|_| observe(&mut agent, &rows(20, 0.0, &mut rng)));
    assert_eq!(agent.offered(), Some((model.identity(), FleetState::InUse)));
    assert_eq!(agent.acting().feedback_labels().len(), 1);
}
