//! Compares flowml's flows with NFStream's, and reads flowml's Parquet by pandas and DuckDB.
//!
//! The flows of the same captures agree, except for the rules of docs/FEATURES.md. Parquet must have the right types.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use flowml_tests::frames::{Frame, Ipv4, Ipv6, Ports, Tcp, ether_type, flag};
use flowml_tests::nfstream::{Outcome, Times, captures, compare, flows};
use flowml_tests::peers::{read, require_peers};
use flowml_user::export::flow_columns;
use flowml_user::features::FlowColumns;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::Value;

/// A folder for this test. It is removed with its guard.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flowml-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // An error is ignored: the folder is a temporary one.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sessions of a generated capture.
const SESSIONS: u64 = 3000;

/// 1 January 2024 in µs.
const BEGIN_US: u64 = 1_704_067_200_000_000;

/// Writes a capture of normal sessions, many at once: TCP, UDP and ICMP over both IP versions, with and without VLANs.
/// Some are silent for longer than the idle timeout, and some start with a packet of the side that did not send the
/// SYN.
fn write_capture(path: &Path, seed: u64, step_us: u64) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut packets: Vec<(u64, u64, Vec<u8>)> = Vec::new();
    for session in 0..SESSIONS {
        let shape = Session::of(session, &mut random);
        let mut time_us = random.gen_range(0..300_000_000);
        for number in 0..random.gen_range(1..25) {
            packets.push((time_us, session, shape.frame(number, &mut random)));
            time_us += match random.gen_range(0..100) {
                0 => random.gen_range(130_000_000..200_000_000),
                1..10 => 0,
                _ => random.gen_range(1..2_000_000),
            };
        }
    }
    packets.iter_mut().for_each(|(time_us, ..)| *time_us = BEGIN_US + *time_us / step_us * step_us);
    // Packets with the same time keep their order within a session.
    packets.sort_by_key(|(time_us, session, _)| (*time_us, *session));
    // The format's header and records: https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1_u32] {
        bytes.extend(word.to_le_bytes());
    }
    for (time_us, _, frame) in &packets {
        let (seconds, rest) = (time_us / 1_000_000, time_us % 1_000_000);
        for word in [seconds as u32, rest as u32, frame.len() as u32, frame.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).unwrap();
}

/// The addresses, protocol and behaviour of a session.
struct Session {
    id: u64,
    ipv6: bool,
    vlan: Option<u16>,
    kind: Kind,
    /// Whether the first packet is the responder's.
    answer_first: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Echo,
}

impl Session {
    fn of(id: u64, random: &mut Xoshiro256PlusPlus) -> Self {
        Self {
            id,
            ipv6: random.gen_bool(0.3),
            vlan: random.gen_bool(0.2).then(|| random.gen_range(1..4095)),
            kind: [Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Udp, Kind::Echo][random.gen_range(0..5)],
            answer_first: random.gen_bool(0.03),
        }
    }

    fn frame(&self, number: u32, random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
        let up = match number {
            0 => !self.answer_first,
            1 => self.answer_first || random.gen_bool(0.5),
            _ => random.gen_bool(0.5),
        };
        let mut frame = Frame::default();
        if let Some(id) = self.vlan {
            frame = frame.tag(ether_type::VLAN, id);
        }
        // Every session has its own hosts, so that no two become one flow by chance.
        let [high, low] = (self.id as u16).to_be_bytes();
        frame = if self.ipv6 {
            let [client, server] = [1, 2].map(|end| Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, self.id as u16, end));
            let (source, destination) = if up { (client, server) } else { (server, client) };
            frame.ipv6(&Ipv6 { source, destination, ..Ipv6::default() })
        } else {
            let [client, server] = [1, 2].map(|end| Ipv4Addr::new(10, high, low, end));
            let (source, destination) = if up { (client, server) } else { (server, client) };
            frame.ipv4(&Ipv4 { source, destination, ..Ipv4::default() })
        };
        let (client, server) = (1024 + self.id as u16, 443);
        let (source, destination) = if up { (client, server) } else { (server, client) };
        frame = match self.kind {
            Kind::Tcp => frame.tcp(&Tcp {
                source_port: source,
                destination_port: destination,
                flags: match number {
                    0 | 1 if up => flag::SYN,
                    0 | 1 => flag::SYN | flag::ACK,
                    _ => random.r#gen::<u8>() & !flag::SYN,
                },
                ..Tcp::default()
            }),
            Kind::Udp => frame.udp(Ports { source, destination }),
            Kind::Echo if self.ipv6 => frame.icmpv6(if up { 128 } else { 129 }, 0, [0; 4]),
            Kind::Echo => frame.icmp(if up { 8 } else { 0 }, 0, [0; 4]),
        };
        frame.payload(&vec![0; random.gen_range(0..1400)]).finish()
    }
}

/// Compares both programs on these captures.
fn outcome(paths: &[PathBuf], times: Times) -> Option<Outcome> {
    let peers = require_peers()?;
    let names: String = paths.iter().map(|path| format!("{}\n", path.display())).collect();
    let theirs = captures(&peers.run("nfstream_flows.py", &[], &names).unwrap()).unwrap();
    let mut outcome = Outcome::default();
    for capture in &theirs {
        let ours = flows(&read(&[&capture.path, "--profile", "nfstream", "-q", "-o", "jsonl=-"]).unwrap()).unwrap();
        compare(capture, &ours, times, &mut outcome);
    }
    eprintln!(
        "{} captures: NFStream has {} flows, of which {} were compared ({} of them turned round), {:?} are left to rules, \
         {} are not ours; {} differ",
        theirs.len(),
        outcome.flows,
        outcome.compared,
        outcome.turned,
        outcome.by_rule,
        outcome.unjoined,
        outcome.differing.len(),
    );
    outcome.differing.iter().take(20).for_each(|difference| eprintln!("  {difference}"));
    Some(outcome)
}

#[test]
fn every_flow_of_generated_captures_agrees() {
    let folder = Folder::new("nfstream");
    for (seed, step_us, times) in [(1, 1000, Times::WholeMs), (2, 1, Times::Finer)] {
        let path = folder.0.join(format!("{seed}.pcap"));
        write_capture(&path, seed, step_us);
        let Some(outcome) = outcome(&[path], times) else { return };
        assert!(outcome.flows > SESSIONS, "no session was silent for long enough to become two flows");
        assert_eq!((outcome.unjoined, outcome.differing.len()), (0, 0));
        // No rule is needed here, because the profile also has NFStream's initiators.
        assert_eq!(outcome.compared, outcome.flows, "{:?}", outcome.by_rule);
        assert_eq!(outcome.turned, 0);
    }
}

/// Captures of other projects in a folder beside the checkout. If it is missing, nothing is compared.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures");

/// Only one of this many small captures is compared, which is enough to find a difference.
const ONE_IN: usize = 3;

#[test]
fn flows_of_other_captures_agree() {
    let mut paths = Vec::new();
    collect(Path::new(SHARED), &mut paths);
    paths.sort();
    let labelled = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "labelled");
    let (mut chosen, many): (Vec<_>, Vec<_>) = paths.into_iter().partition(labelled);
    chosen.extend(many.into_iter().step_by(ONE_IN));
    if chosen.is_empty() {
        eprintln!("no captures beside the project: 0 flows compared");
        return;
    }
    let Some(outcome) = outcome(&chosen, Times::Finer) else { return };
    assert!(outcome.agreement() >= 0.999, "{}", outcome.agreement());
    assert!(outcome.unjoined * 10 <= outcome.flows, "too many flows are only in NFStream's output");
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if path.is_dir() => collect(&path, paths),
            Some("pcap" | "pcapng" | "cap" | "trace" | "dmp") => paths.push(path),
            _ => {}
        }
    }
}

#[test]
fn flowml_has_every_column_of_nfstream() {
    let Some(peers) = require_peers() else { return };
    let folder = Folder::new("columns");
    let path = folder.0.join("one.pcap");
    write_capture(&path, 3, 1);
    let theirs = captures(&peers.run("nfstream_flows.py", &[], &format!("{}\n", path.display())).unwrap()).unwrap();
    // The rule `numbers` applies.
    let theirs: BTreeSet<&str> = theirs[0].flows[0].keys().map(String::as_str).filter(|name| *name != "id").collect();
    let ours: BTreeSet<&str> =
        flow_columns(FlowColumns::Headers).filter(|column| column.nfstream).map(|column| column.name).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn pandas_and_duckdb_read_the_written_tables() {
    let Some(peers) = require_peers() else { return };
    let folder = Folder::new("tables");
    let path = |name: &str| folder.0.join(name).display().to_string();
    write_capture(Path::new(&path("a.pcap")), 4, 1);
    let outputs = [format!("parquet={}", path("tables")), format!("csv={}", path("flows.csv"))];
    let summary = read(&[&path("a.pcap"), "-q", "-o", &outputs[0], "-o", &outputs[1], "-o", "jsonl=-"]).unwrap();
    let summary: Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
    let csv = folder.0.join("flows.csv");
    let found = peers.run("parquet_tables.py", &[&folder.0.join("tables"), &csv], "").unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();

    let totals = &found["pandas_totals"];
    assert_eq!((&totals[0], &totals[1]), (&summary["flows"], &summary["packets_in_flows"]));
    assert_eq!((&found["duckdb_totals"], &found["csv_totals"]), (totals, totals));
    assert_eq!(found["differences"], serde_json::json!([]), "columns in which Parquet and CSV differ");
    for column in flow_columns(FlowColumns::Headers) {
        let types = (&found["duckdb_types"][column.name], &found["units"][column.name]);
        let expected = match column.kind.name() {
            "text" => "VARCHAR",
            "integer" => "BIGINT",
            "real" => "DOUBLE",
            "flag" => "BOOLEAN",
            "integers" => "BIGINT[]",
            "reals" => "DOUBLE[]",
            other => panic!("{} is of an unknown type {other}", column.name),
        };
        assert_eq!(types, (&expected.into(), &column.unit.into()), "{}", column.name);
    }
    assert_eq!(found["pandas_types"]["bidirectional_packets"], "int64");
    assert_eq!(found["pandas_types"]["bidirectional_mean_ps"], "float64");
}

/// Consecutive files of one table, beside an incomplete file, as a running or killed agent leaves them.
#[test]
fn pandas_and_duckdb_read_consecutive_files_as_one_table() {
    let Some(peers) = require_peers() else { return };
    let folder = Folder::new("dataset");
    let path = |name: &str| folder.0.join(name).display().to_string();
    write_capture(Path::new(&path("a.pcap")), 5, 1);
    let output = format!("parquet={},rotate=1h", path("tables"));
    let mut expected = [0, 0];
    for _ in 0..2 {
        let summary = read(&[&path("a.pcap"), "-q", "-o", &output, "-o", "jsonl=-"]).unwrap();
        let summary: Value = serde_json::from_str(summary.lines().last().unwrap()).unwrap();
        expected[0] += summary["flows"].as_u64().unwrap();
        expected[1] += summary["packets_in_flows"].as_u64().unwrap();
    }
    let flows = folder.0.join("tables/flows");
    assert!(flows.read_dir().unwrap().count() > 1);
    std::fs::write(flows.join(".flows-20261129T112000Z.parquet.part"), "PAR1").unwrap();
    let found = peers.run("parquet_dataset.py", &[&flows], "").unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found, serde_json::json!({ "pandas": expected, "pyarrow": expected, "duckdb": expected }));
}
