//! The model of a fleet: agents send statistics, they are merged, and agents try the result on their own traffic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{binary, ensure_refused, flowml};
use flowml_tests::captures::{Pcap, Record};
use flowml_tests::frames::{Frame, Ipv4, Tcp, flag};
use flowml_tests::lab::Mac;
use flowml_tests::peers::require_engines;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256Plus;
use serde_json::Value;

/// The start of the captures, Unix time in ns.
const START_NS: u64 = 1_795_455_060_000_000_000;

const MS: u64 = 1_000_000;

/// What the connections of a capture are like.
#[derive(Clone, Copy)]
struct Traffic {
    seed: u64,
    /// The largest number of connections in a second.
    connections: u32,
    /// The mean number of packets of an answer.
    answer: f64,
    /// The port of the service.
    port: u16,
    /// The time between two packets of a connection, ms.
    pause: f64,
}

/// Short requests with long answers.
const WEB: Traffic = Traffic { seed: 0, connections: 5, answer: 8.0, port: 443, pause: 5.0 };

/// Number of hosts that try the model.
const HOSTS: u64 = 5;

/// Many slow connections with short answers, to another service.
const SENSORS: Traffic = Traffic { seed: 0, connections: 30, answer: 1.0, port: 1883, pause: 700.0 };

/// A capture of connections of a few clients with one server, for this number of seconds.
fn capture(traffic: Traffic, seconds: u64) -> Vec<u8> {
    let mut rng = Xoshiro256Plus::seed_from_u64(traffic.seed);
    let exponential = |rng: &mut Xoshiro256Plus, mean: f64| -mean * (1.0 - rng.r#gen::<f64>()).ln();
    let mut records = Vec::new();
    for second in 0..seconds {
        for _ in 0..rng.gen_range(1..=traffic.connections) {
            let mut time_ns = START_NS + second * 1000 * MS + rng.gen_range(0..1000) * MS;
            let (client, port) = (rng.gen_range(10..18), rng.gen_range(32_768..60_000));
            let answer = 1 + exponential(&mut rng, traffic.answer) as usize;
            let flags = [flag::SYN, flag::SYN | flag::ACK, flag::ACK, flag::ACK | flag::PSH];
            let begin = (0..)
                .zip(flags)
                .map(|(number, flags)| (number % 2 == 0 || number == 3, flags, if number == 3 { 120 } else { 0 }));
            let middle = (0..answer).map(|_| (false, flag::ACK, 1200));
            let end = [(false, flag::FIN | flag::ACK, 0), (true, flag::FIN | flag::ACK, 0), (false, flag::ACK, 0)];
            for (from_client, flags, length) in begin.chain(middle).chain(end) {
                records.push(packet(time_ns, client, port, traffic.port, from_client, flags, length));
                time_ns += (exponential(&mut rng, traffic.pause) * MS as f64) as u64 + 1;
            }
        }
    }
    records.sort_by_key(|record: &Record| record.time_ns);
    Pcap::of(1).write(&records)
}

fn packet(time_ns: u64, client: u8, port: u16, service: u16, from_client: bool, flags: u8, length: usize) -> Record {
    let [server, client] = [[10, 88, 0, 1].into(), [10, 88, 0, client].into()];
    let (source, destination) = if from_client { (client, server) } else { (server, client) };
    let (source_port, destination_port) = if from_client { (port, service) } else { (service, port) };
    let header = Ipv4 { source, destination, ..Ipv4::default() };
    let tcp = Tcp { source_port, destination_port, flags, ..Tcp::default() };
    let macs = [Mac([2, 0x88, 0, 0, 0, 1]), Mac([2, 0x88, 0, 0, 0, 2])];
    let frame = if from_client { Frame::between(macs[1], macs[0]) } else { Frame::between(macs[0], macs[1]) };
    Record::whole(time_ns, frame.ipv4(&header).tcp(&tcp).payload(&vec![b'x'; length]).finish())
}

/// Runs flowml, which must succeed. Returns standard error.
fn run(folder: &Path, line: &str) -> Result<String> {
    let output = flowml(folder, line)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "flowml {line}: {text}");
    Ok(text)
}

/// The rows of a type in a file.
fn rows(path: &Path, kind: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path)?;
    let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    Ok(rows.into_iter().filter(|row| row["type"] == kind).collect())
}

/// The hash that `flowml fleet merge` prints.
fn hash_of(printed: &str) -> Result<String> {
    let line = printed.lines().find_map(|line| line.trim().strip_prefix("sha256 "));
    Ok(line.with_context(|| format!("a hash in {printed}"))?.to_owned())
}

/// A fleet of agents with one model: its captures, the model, and the statistics of each agent.
struct Fleet {
    folder: tempfile::TempDir,
}

impl Fleet {
    const AGENTS: u64 = 3;

    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let write = |name: &str, traffic, seconds| fs::write(folder.path().join(name), capture(traffic, seconds));
        write("first.pcap", Traffic { seed: 99, ..WEB }, 400)?;
        write("sensors.pcap", Traffic { seed: 98, ..SENSORS }, 120)?;
        run(folder.path(), "train first.pcap -q --model first.json")?;
        run(folder.path(), "train sensors.pcap -q --model sensors.json")?;
        fs::create_dir(folder.path().join("agents"))?;
        for agent in 0..Self::AGENTS {
            write(&format!("{agent}.pcap"), Traffic { seed: agent, ..WEB }, 300)?;
            // The agent saves its own model.
            fs::copy(folder.path().join("first.json"), folder.path().join(format!("{agent}.json")))?;
            run(
                folder.path(),
                &format!("read {agent}.pcap -q --model {agent}.json --fleet-statistics -o jsonl=agents/{agent}.jsonl"),
            )?;
        }
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn statistics(&self) -> Vec<PathBuf> {
        (0..Self::AGENTS).map(|agent| self.path().join(format!("agents/{agent}.jsonl"))).collect()
    }

    /// Merges the rows of all agents. Returns what flowml prints.
    fn merge(&self) -> Result<String> {
        run(self.path(), "fleet merge agents/0.jsonl agents/1.jsonl agents/2.jsonl --parent first.json -o next.json")
    }
}

#[test]
fn agents_send_statistics_of_every_minute_and_the_merged_model_is_tried_on_their_traffic() -> Result<()> {
    let fleet = Fleet::new()?;
    for path in fleet.statistics() {
        let statistics = rows(&path, "statistics")?;
        let minutes: std::collections::BTreeSet<u64> =
            statistics.iter().filter_map(|row| row["start_ms"].as_u64()).collect();
        ensure!(minutes.len() >= 5, "a row for each minute: {minutes:?}");
        let spans = |row: &Value| Some(row["end_ms"].as_u64()? - row["start_ms"].as_u64()?);
        ensure!(statistics.iter().all(|row| spans(row) <= Some(62_000)), "{statistics:?}");
        for (learner, kind) in [("flows", "flow"), ("hosts", "host")] {
            let of = statistics.iter().filter(|row| row["learner"] == learner);
            let sent: u64 = of.filter_map(|row| row["rows"].as_u64()).sum();
            let scored = rows(&path, kind)?.iter().filter(|row| row["cluster"].is_u64()).count() as u64;
            ensure!(sent <= scored && 10 * sent >= 8 * scored, "{learner}: {sent} of {scored} rows");
        }
        let summary = rows(&path, "summary")?;
        ensure!(summary[0]["statistics"] == statistics.len(), "{}", summary[0]["statistics"]);
    }
    let printed = fleet.merge()?;
    ensure!(printed.contains("next.json is model 1 of the fleet") && printed.contains("hosts: "), "{printed}");
    let hash = hash_of(&printed)?;
    let shown = flowml(fleet.path(), "model show next.json")?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains(&hash) && shown.contains("model 1 of a fleet, merged from the statistics of "), "{shown}");

    // Hosts of the fleet, and a host whose traffic is another one.
    let line = |capture: &str, own: &str| {
        format!(
            "read {capture} --model {own} --fleet-model next.json --fleet-model-hash {hash} --fleet-statistics -o jsonl={own}l"
        )
    };
    let outcome = |learner: &str, outcome: &str| {
        format!("{learner}: model number 1 ({}…) of the fleet is {outcome}", &hash[..12])
    };
    let (mut promoted, mut in_use) = ([0; 2], false);
    for host in 0..HOSTS {
        let own = format!("host{host}.json");
        fs::copy(fleet.path().join("first.json"), fleet.path().join(&own))?;
        let traffic = Traffic { seed: 50 + host, ..WEB };
        fs::write(fleet.path().join("new.pcap"), capture(traffic, 300))?;
        let printed = run(fleet.path(), &line("new.pcap", &own))?;
        for (count, learner) in promoted.iter_mut().zip(["flows", "hosts"]) {
            ensure!(printed.contains(&outcome(learner, "tried")), "{printed}");
            *count += u64::from(printed.contains(&outcome(learner, "promoted")));
        }
        // From then on its statistics are those of the model of the fleet.
        let statistics = rows(&fleet.path().join(format!("{own}l")), "statistics")?;
        in_use |= statistics.iter().any(|row| row["model"] == *hash && row["model_number"] == 1);
    }
    eprintln!("promoted on {promoted:?} of {HOSTS} hosts, for flows and host windows");
    // A trial of 300 rows also refuses a model that fits, if rare rows occur in it by chance.
    ensure!(promoted.iter().all(|count| 2 * count > HOSTS) && in_use, "promoted on {promoted:?} of {HOSTS} hosts");
    fs::write(fleet.path().join("other.pcap"), capture(Traffic { seed: 51, ..SENSORS }, 120))?;
    let printed = run(fleet.path(), &line("other.pcap", "sensors.json"))?;
    for learner in ["flows", "hosts"] {
        let refused = outcome(learner, "refused, because");
        ensure!(printed.contains(&refused), "{printed}");
    }
    let statistics = rows(&fleet.path().join("sensors.jsonl"), "statistics")?;
    ensure!(statistics.iter().all(|row| row["model"] != *hash), "it is not in use");

    // A file that is not the one with this hash.
    let text = fs::read_to_string(fleet.path().join("next.json"))?;
    fs::write(fleet.path().join("next.json"), text.replacen("\"number\": 1", "\"number\": 2", 1))?;
    ensure_refused(fleet.path(), &line("new.pcap", "0.json"), 1, "next.json has the SHA-256 hash ")
}

#[test]
fn a_merge_refuses_rows_of_another_model_and_writes_nothing() -> Result<()> {
    let fleet = Fleet::new()?;
    let line = "fleet merge agents/0.jsonl --parent sensors.json -o next.json";
    ensure_refused(fleet.path(), line, 1, "the statistics are of the model ")?;
    ensure!(!fleet.path().join("next.json").exists());
    let line = "fleet merge agents/0.jsonl --parent first.json -o first.json";
    ensure_refused(fleet.path(), line, 2, "expected another file, because agents still run the parent")?;
    let line = "read 0.pcap --fleet-statistics";
    ensure_refused(fleet.path(), line, 2, "need a model in use: expected '--model FILE' as well")?;
    let line = "read 0.pcap --model 0.json --fleet-model next.json";
    ensure_refused(fleet.path(), line, 2, "--fleet-model-hash")
}

/// Fails if two numbers of the models differ by more than 1e-9, relative to numbers above 1.
fn ensure_close(one: &Value, other: &Value, place: &str) -> Result<()> {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().context("a number")?, b.as_f64().context("a number")?);
            ensure!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{place}: {a} and {b}");
        }
        (Value::Array(a), Value::Array(b)) => {
            ensure!(a.len() == b.len(), "{place}: {} and {} values", a.len(), b.len());
            a.iter().zip(b).enumerate().try_for_each(|(at, (a, b))| ensure_close(a, b, &format!("{place}/{at}")))?;
        }
        (Value::Object(a), Value::Object(b)) => {
            ensure!(a.keys().eq(b.keys()), "{place}");
            a.iter().try_for_each(|(key, value)| ensure_close(value, &b[key], &format!("{place}/{key}")))?;
        }
        (a, b) => ensure!(a == b, "{place}: {a} and {b}"),
    }
    Ok(())
}

#[test]
fn clickhouse_adds_the_statistics_and_the_model_is_that_of_all_rows() -> Result<()> {
    let Some(engines) = require_engines() else { return Ok(()) };
    let fleet = Fleet::new()?;
    fleet.merge()?;
    let first = rows(&fleet.statistics()[0], "statistics")?;
    let hash = first[0]["model"].as_str().context("a hash")?.to_owned();
    let arguments = [fleet.path().join("agents"), fleet.path().join("scratch"), PathBuf::from(hash)];
    let arguments: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
    let sums = engines.run("statistics.py", &arguments, "")?;
    let mut merge = Command::new(binary()?);
    merge.current_dir(fleet.path()).args(["fleet", "merge", "-", "--parent", "first.json", "-o", "of_sums.json"]);
    let mut child = merge.stdin(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("standard input")?, sums.as_bytes())?;
    ensure!(child.wait()?.success(), "{sums}");
    let read = |name: &str| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(fleet.path().join(name))?)?) };
    ensure_close(&read("of_sums.json")?, &read("next.json")?, "")
}
