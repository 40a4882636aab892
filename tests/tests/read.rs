//! `flowml read` as a program: its inputs, its answers, and its behaviour with damaged files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use flowml_tests::agent::binary;
use flowml_tests::captures::{Interface, Order, PacketBlock, Pcap, Pcapng, Record, gzip, zstandard};
use flowml_tests::folder::Folder;
use flowml_tests::frames::{Frame, Ipv4, NAMED, Ports};
use flowml_tests::lab::or_skip;
use flowml_user::dataset::{DatasetError, TableReader};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Time of the first packet in ns.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// `count` packets of the named frames from the first one on, 0.1 s apart.
fn records(begin_ns: u64, count: u64) -> Vec<Record> {
    let frames = NAMED.iter().cycle().map(|named| (named.build)());
    frames.zip(0..count).map(|(bytes, n)| Record::whole(begin_ns + n * 100_000_000, bytes)).collect()
}

fn capture(count: u64) -> Vec<u8> {
    Pcap::of(1).write(&records(BEGIN_NS, count))
}

/// The result of a reading.
struct Answer {
    code: Option<i32>,
    rows: Vec<Value>,
    stderr: String,
}

impl Answer {
    fn of(output: &Output) -> Result<Self> {
        let rows = output.stdout.split(|byte| *byte == b'\n').filter(|row| !row.is_empty());
        Ok(Self {
            code: output.status.code(),
            rows: rows.map(serde_json::from_slice).collect::<Result<_, _>>().context("rows of JSON")?,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn summary(&self) -> Result<&Value> {
        self.rows.last().filter(|row| row["type"] == "summary").context("the last row is no summary")
    }

    /// The number of received packets. Packet accounting must be consistent.
    fn packets(&self) -> Result<u64> {
        let summary = self.summary()?;
        ensure!(summary["conserved"] == true, "{summary}");
        let number = |value: &Value| value.as_u64().context("a number");
        let skipped = summary["packets_skipped"].as_object().context("by reason")?;
        let skipped = skipped.values().map(number).sum::<Result<u64>>()?;
        let received = number(&summary["packets_received"])?;
        ensure!(received == number(&summary["packets_in_flows"])? + skipped, "{summary}");
        Ok(received)
    }
}

fn run(arguments: &[&str], input: Stdio) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command.arg("read").args(arguments).stdin(input).output().context("running flowml read")
}

fn read_from(arguments: &[&str], input: Stdio) -> Result<Answer> {
    Answer::of(&run(&[&["-o", "jsonl=-"], arguments].concat(), input)?)
}

fn read(arguments: &[&str]) -> Result<Answer> {
    read_from(arguments, Stdio::null())
}

#[test]
fn a_capture_gives_its_flows_with_consistent_packet_accounting() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("account")?;
    let path = folder.write("a.pcap", &capture(200))?;
    let answer = read(&[&path])?;
    ensure!(answer.code == Some(0), "{}", answer.stderr);
    ensure!(answer.packets()? == 200, "{:?}", answer.summary());
    let summary = answer.summary()?;
    ensure!(summary["interfaces"] == serde_json::json!([{"name": path, "capture_mode": "file"}]), "{summary}");
    ensure!(summary["duration_s"] == 19.9, "{summary}");
    ensure!(answer.rows.iter().filter(|row| row["type"] == "flow").all(|row| row["hooks"] == "file"), "not by a file");
    ensure!(answer.stderr.contains("received 200"), "{}", answer.stderr);
    // With `-q` it prints nothing, and the rows are the same.
    let quiet = read(&["-q", &path])?;
    ensure!((quiet.stderr.as_str(), &quiet.rows) == ("", &answer.rows), "{}", quiet.stderr);
    Ok(())
}

/// The permissions of a file.
fn permissions(path: impl AsRef<Path>) -> Result<u32> {
    let path = path.as_ref();
    Ok(fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?.permissions().mode() & 0o777)
}

#[test]
fn outputs_are_private_within_the_umask_unless_an_option_gives_other_permissions() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    for (umask, private) in [("022", 0o600), ("0277", 0o400)] {
        let folder = Folder::new(&format!("private-{umask}"))?;
        let capture = folder.write("a.pcap", &capture(3))?;
        let path = |name: &str| folder.argument(name);
        let outputs = [
            format!("csv={}", path("a.csv")),
            format!("jsonl={}", path("a.jsonl")),
            format!("parquet={}", path("a")),
            format!("csv={},mode=0640", path("b,c.csv")),
            format!("parquet={},mode=0644", path("b")),
        ];
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
            .arg(binary()?)
            .args(["read", &capture, "-q"]);
        for output in &outputs {
            command.args(["-o", output]);
        }
        let answer = command.output().context("running flowml read")?;
        ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        for name in ["a.csv", "a.jsonl", "a/flows.parquet", "a/hosts.parquet", "a/anomalies.parquet"] {
            assert_eq!(permissions(path(name))?, private, "{name}, umask {umask}");
        }
        assert_eq!(
            (permissions(path("b,c.csv"))?, permissions(path("b/flows.parquet"))?),
            (0o640, 0o644),
            "umask {umask}"
        );
    }
    Ok(())
}

#[test]
fn consecutive_files_are_read_as_one_table() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("dataset")?;
    let capture = folder.write("a.pcap", &minute_of_flows())?;
    let tables = folder.path("tables");
    let output = format!("parquet={},rotate=1h", tables.display());
    let mut flows = 0;
    for _ in 0..2 {
        let answer = read(&[&capture, "-q", "-o", &output])?;
        flows += answer.summary()?["flows"].as_u64().context("a number")?;
    }
    let rows = || -> Result<u64, DatasetError> {
        TableReader::open(&tables)?.try_fold(0, |rows, batch| Ok(rows + batch?.num_rows() as u64))
    };
    assert_eq!(rows().map_err(|error| error.to_string()), Ok(flows));
    // The next run does not read what a killed run leaves, and removes it.
    let left = tables.join("flows/.flows-20261129T112000Z.parquet.part");
    fs::write(&left, "PAR1")?;
    assert_eq!(rows().map_err(|error| error.to_string()), Ok(flows));
    // Another run with other columns is not part of the table.
    read(&[&capture, "-q", "-o", &output, "--payload", "64"])?;
    assert!(!left.exists());
    let error = rows().expect_err("the columns differ").to_string();
    assert!(error.contains("expected the same columns as those of"), "{error}");
    Ok(())
}

#[test]
fn payload_adds_columns_and_changes_no_others() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let path = format!("{}/corpus/ethernet.pcap", env!("CARGO_MANIFEST_DIR"));
    let without = read(&[&path])?;
    let with = read(&[&path, "--payload", "256", "--match", "curl=curl/\\d", "--match", "letters=a{100}"])?;
    ensure!(with.code == Some(0), "{}", with.stderr);
    let added = ["application_", "requested_server_name", "src2dst_first_payload", "dst2src_first_payload", "match_"];
    let is_added = |name: &str| added.iter().any(|begin| name.starts_with(begin));
    ensure!(without.rows.len() == with.rows.len(), "{} rows and {}", without.rows.len(), with.rows.len());
    let mut pages = 0;
    for (without, with) in without.rows.iter().zip(&with.rows) {
        let mut rest = with.as_object().context("a row")?.clone();
        rest.retain(|name, _| !is_added(name));
        ensure!(Some(&rest) == without.as_object(), "{without}\n{with}");
        if with["application_name"] == "HTTP" {
            pages += 1;
            let server = with["dst_ip"].as_str().context("an address")?;
            let name = with["requested_server_name"].as_str().context("curl names its host")?;
            ensure!(name.trim_matches(['[', ']']) == server, "{name} at {server}");
            ensure!((&with["application_detail"], &with["match_curl"]) == (&"GET".into(), &1.into()), "{with}");
            ensure!(with["dst2src_first_payload_bytes"].as_u64() > Some(100), "{with}");
        }
        ensure!(!with.to_string().contains("User-Agent"), "payload is in {with}");
    }
    ensure!(pages == 6, "{pages} downloads");
    Ok(())
}

#[test]
fn an_invalid_payload_length_or_pattern_is_wrong_usage() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    for (arguments, expected) in [
        (&["x", "--payload", "257"][..], "0..=256"),
        (&["x", "--payload", "9", "--match", "a=("], "not a valid regular expression: unclosed group"),
        (&["x", "--payload", "9", "--match", "A=x"], "'A' is not a valid name"),
        (&["x", "--match", "a=x"], "--payload"),
    ] {
        let answer = read(arguments)?;
        ensure!(answer.code == Some(2) && answer.stderr.contains(expected), "{arguments:?}: {}", answer.stderr);
        ensure!(answer.stderr.lines().count() == 1 && answer.rows.is_empty(), "{}", answer.stderr);
    }
    Ok(())
}

#[test]
fn standard_input_and_several_files_are_read_like_one_capture() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("several")?;
    let records = records(BEGIN_NS, 150);
    let write = |name: &str, records: &[Record]| folder.write(name, &Pcap::of(1).write(records));
    let (whole, first, second) =
        (write("whole", &records)?, write("first", &records[..70])?, write("second", &records[70..])?);
    let compressed = folder.write("second.zst", &zstandard(&[&fs::read(&second)?])?)?;
    let flows = |answer: &Answer| -> Result<Vec<Value>> {
        ensure!(answer.code == Some(0), "{}", answer.stderr);
        ensure!(answer.packets()? == 150, "{:?}", answer.summary());
        Ok(answer.rows.iter().filter(|row| row["type"] != "summary").cloned().collect())
    };
    let expected = flows(&read(&[&whole])?)?;
    ensure!(flows(&read_from(&["-"], File::open(&whole)?.into())?)? == expected, "standard input");
    ensure!(flows(&read(&[&first, &second])?)? == expected, "two files");
    ensure!(flows(&read_from(&[&first, "-"], File::open(&compressed)?.into())?)? == expected, "a file and a pipe");
    // A file of the day before is not part of the same flows, and none of its packets are lost.
    let yesterday = write("yesterday", &self::records(BEGIN_NS - 86_400_000_000_000, 150))?;
    let both = read(&[&whole, &yesterday])?;
    ensure!(both.code == Some(0) && both.packets()? == 300, "{}", both.stderr);
    Ok(())
}

#[test]
fn a_truncated_file_gives_its_packets_and_the_offset_of_its_end() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("cut")?;
    let file = capture(60);
    let last = Pcap::of(1).write(&records(BEGIN_NS, 59)).len();
    let good = folder.write("good", &capture(10))?;
    for (name, bytes) in [
        ("in the packet", file[..file.len() - 1].to_vec()),
        ("in its header", file[..last + 7].to_vec()),
        ("in the packet, and compressed", gzip(&[&file[..file.len() - 1]])?),
    ] {
        let cut = folder.write("cut", &bytes)?;
        let answer = read(&[&cut, &good])?;
        ensure!(answer.code == Some(1), "{name}: {:?}", answer.code);
        ensure!(answer.packets()? == 59 + 10, "{name}: {:?}", answer.summary());
        let expected = format!("flowml: {cut}: it is cut off: the packet at byte {last} is not complete");
        ensure!(answer.stderr.contains(&expected), "{name}: expected {expected:?}, found {}", answer.stderr);
    }
    Ok(())
}

#[test]
fn a_damaged_file_gives_the_packets_before_the_damage() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("damaged")?;
    let at = capture(30).len();
    let mut pcap = capture(60);
    pcap[at + 8..at + 12].fill(0xff);
    let interface = Interface::of(1);
    let mut pcapng = Pcapng::new(Order::Big, &[interface]);
    for record in &records(BEGIN_NS, 30) {
        pcapng.packet(PacketBlock::Enhanced, 0, &interface, record);
    }
    let block_at = pcapng.finish().len();
    pcapng.packet(PacketBlock::Enhanced, 0, &interface, &records(BEGIN_NS, 1)[0]);
    let damaged = |from: usize, bytes: &[u8]| {
        let mut file = pcapng.finish();
        file[from..from + bytes.len()].copy_from_slice(bytes);
        file
    };
    let cases = [
        ("a length that cannot be", pcap, at, "a packet of 4294967295 bytes"),
        ("a block that is too short", damaged(block_at + 4, &[0, 0, 0, 8]), block_at, "a block of 8 bytes"),
        ("an unknown interface", damaged(block_at + 8, &[0, 0, 0, 9]), block_at, "interface 9"),
        ("a packet longer than its block", damaged(block_at + 20, &[0, 1, 0, 0]), block_at, "contradicts itself"),
    ];
    for (name, bytes, offset, what) in cases {
        let answer = read(&[&folder.write("damaged", &bytes)?])?;
        ensure!(answer.code == Some(1) && answer.packets()? == 30, "{name}: {}", answer.stderr);
        let place = format!("it is damaged at byte {offset}: ");
        ensure!(answer.stderr.contains(&place) && answer.stderr.contains(what), "{name}: {}", answer.stderr);
    }
    Ok(())
}

/// A compressed capture, and the position of a block in it. [`PARTS`] states how many packets are before that block.
struct Flushed {
    compressed: Vec<u8>,
    at: usize,
}

/// Packets in the first part of a [`Flushed`] capture, and in the complete capture. Each part is several times as long
/// as the bytes that are requested of a decompressor at once.
const PARTS: [u64; 2] = [9_000, 18_000];

fn flushed<W: Write>(
    mut encoder: W,
    compressed: impl Fn(&W) -> &Vec<u8>,
    end: impl FnOnce(W) -> io::Result<Vec<u8>>,
) -> Result<Flushed> {
    let file = capture(PARTS[1]);
    let (first, second) = file.split_at(capture(PARTS[0]).len());
    encoder.write_all(first)?;
    encoder.flush()?;
    let at = compressed(&encoder).len();
    encoder.write_all(second)?;
    Ok(Flushed { compressed: end(encoder)?, at })
}

/// All bytes that a decompressor has produced before the damage are used.
#[test]
fn a_compressed_file_gives_the_packets_before_its_damage() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("compressed")?;
    let gzip = flushed(GzEncoder::new(Vec::new(), Compression::default()), GzEncoder::get_ref, GzEncoder::finish)?;
    // Without a checksum, some damages would give other bytes instead of an error.
    let mut encoder = zstd::Encoder::new(Vec::new(), 3)?;
    encoder.include_checksum(true)?;
    let zstd = flushed(encoder, zstd::Encoder::get_ref, zstd::Encoder::finish)?;
    for (name, Flushed { compressed, at }) in [("gzip", gzip), ("zstd", zstd)] {
        // An invalid block type: the two bits after the one that marks the last block.
        let mut damaged = compressed.clone();
        damaged[at] |= 0b110;
        let answer = read(&[&folder.write("damaged", &damaged)?])?;
        ensure!(answer.code == Some(1) && answer.packets()? == PARTS[0], "{name}: {}", answer.stderr);
        let place = format!("cannot read it after byte {}: ", capture(PARTS[0]).len());
        ensure!(answer.stderr.contains(&place) && answer.stderr.contains("decompressed"), "{name}: {}", answer.stderr);
        for cut in [at, at + 1] {
            let answer = read(&[&folder.write("cut", &compressed[..cut])?])?;
            ensure!(answer.code == Some(1) && answer.packets()? == PARTS[0], "{name}: {}", answer.stderr);
            let place = format!("cut off: the compressed stream at byte {}", capture(PARTS[0]).len());
            ensure!(answer.stderr.contains(&place), "{name}: {}", answer.stderr);
        }
        // In the middle of a block.
        let mut damaged = compressed.clone();
        let middle = usize::midpoint(at, compressed.len());
        damaged[middle..middle + 64].fill(0xff);
        let answer = read(&[&folder.write("damaged", &damaged)?])?;
        ensure!(answer.code == Some(1) && answer.packets()? >= PARTS[0], "{name}: {}", answer.stderr);
    }
    Ok(())
}

/// A silent pipe: a signal ends the run, and the packets read so far are in the records.
#[test]
fn a_signal_ends_the_wait_for_standard_input() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let file = capture(40);
    let compressed = gzip(&[&file])?;
    for (name, begin, packets, signal) in [
        ("nothing yet", &[][..], 0, Signal::TERM),
        ("half a header", &file[..10], 0, Signal::INT),
        ("whole packets", &file[..], 40, Signal::INT),
        ("half a packet", &file[..file.len() - 1], 39, Signal::TERM),
        ("half a compressed capture", &compressed[..compressed.len() / 2], 1, Signal::TERM),
    ] {
        let mut command = Command::new(binary()?);
        command.args(["read", "-q", "-o", "jsonl=-", "-"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("its standard input")?;
        input.write_all(begin)?;
        until_it_waits(&child, &input)?;
        kill_process(Pid::from_child(&child), signal)?;
        let answer = Answer::of(&child.wait_with_output()?)?;
        drop(input);
        ensure!(answer.code == Some(0) && answer.stderr.is_empty(), "{name}: {:?} {}", answer.code, answer.stderr);
        ensure!(answer.packets()? >= packets && answer.packets()? <= 40, "{name}: {:?}", answer.summary());
    }
    Ok(())
}

/// Waits until a process handles signals, has emptied its pipe, and sleeps.
fn until_it_waits(child: &Child, input: &ChildStdin) -> Result<()> {
    let begin = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let caught = u64::from_str_radix(of("SigCgt:").context("caught signals")?, 16)?;
        let listens = [Signal::INT, Signal::TERM].iter().all(|signal| caught >> (signal.as_raw() - 1) & 1 == 1);
        if listens && ioctl_fionread(input)? == 0 && of("State:").is_some_and(|state| state.starts_with('S')) {
            return Ok(());
        }
        ensure!(begin.elapsed() < Duration::from_secs(20), "it does not wait for standard input:\n{status}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn files_that_are_no_captures_are_reported_and_the_others_are_read() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("others")?;
    let good = folder.write("good", &capture(10))?;
    let ppp = Pcap::of(9).write(&records(BEGIN_NS, 3));
    let cases = [
        ("nothing", folder.argument("nothing"), "No such file"),
        ("a folder", folder.argument(""), "it is a directory"),
        ("no bytes", folder.write("empty", b"")?, "it is empty"),
        ("a text", folder.write("text", b"#!/bin/sh\necho no capture at all\n")?, "it is not a capture"),
        ("a compressed text", folder.write("text.gz", &gzip(&[b"no capture either"])?)?, "it is not a capture"),
        ("half a header", folder.write("half", &capture(1)[..20])?, "cut off: its header at byte 0"),
        ("a strange link", folder.write("ppp", &ppp)?, "link type PPP (9) cannot be read"),
    ];
    for (name, path, expected) in cases {
        let answer = read(&[&path, &good])?;
        ensure!(answer.code == Some(1), "{name}: {:?}", answer.code);
        ensure!(answer.packets()? == 10, "{name}: the other file was not read");
        ensure!(answer.stderr.contains(&path) && answer.stderr.contains(expected), "{name}: {}", answer.stderr);
    }
    Ok(())
}

/// A pcapng file may have interfaces of several link types. Interfaces with a supported link type are read.
#[test]
fn interfaces_beside_one_of_an_unsupported_link_type_are_read() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("interfaces")?;
    let interfaces = [Interface::of(127), Interface::of(1)];
    let mut file = Pcapng::new(Order::Little, &interfaces);
    for (n, record) in records(BEGIN_NS, 30).iter().enumerate() {
        let number = usize::from(n % 3 > 0);
        file.packet(PacketBlock::Enhanced, number as u16, &interfaces[number], record);
    }
    let answer = read(&[&folder.write("mixed.pcapng", &file.finish())?])?;
    ensure!(answer.code == Some(1) && answer.packets()? == 20, "{}", answer.stderr);
    ensure!(
        answer.stderr.contains("IEEE802_11_RADIOTAP (127)")
            && answer.stderr.contains("so 10 packets of it are left out"),
        "{}",
        answer.stderr
    );
    let interface_of = |row: &&Value| row["type"] == "flow" && row["interface"] != 2;
    ensure!(!answer.rows.iter().any(|row| interface_of(&row)), "there are flows of an interface that is not supported");
    Ok(())
}

/// The profile of NFStream does not end flows by their flags.
#[test]
fn a_profile_determines_when_flows_end() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("profile")?;
    let bytes = NAMED.iter().find(|named| named.skipped.is_none()).map(|named| (named.build)()).context("no frame")?;
    let at = |offset_s: u64| Record::whole(BEGIN_NS + offset_s * 1_000_000_000, bytes.clone());
    let path = folder.write("a.pcap", &Pcap::of(1).write(&[at(0), at(16), at(130), at(251)]))?;
    for (arguments, expected) in [
        (&[][..], 4),
        (&["--profile", "nfstream"], 2),
        (&["--profile", "nfstream", "--idle-timeout", "10m"], 1),
        (&["--idle-timeout", "60s"], 3),
    ] {
        let answer = read(&[&[path.as_str()], arguments].concat())?;
        let flows = answer.rows.iter().filter(|row| row["type"] == "flow").count();
        ensure!(flows == expected, "{arguments:?}: {flows} flows instead of {expected}");
    }
    Ok(())
}

/// 60 s of flows of one packet, ten a second: longer than the warm-up of a learner.
fn minute_of_flows() -> Vec<u8> {
    let flow = |n: u64| {
        let ports = Ports { source: 20_000 + n as u16, destination: 53 };
        let frame = Frame::default().ipv4(&Ipv4::default()).udp(ports).payload(&vec![0; 20 + n as usize % 30]);
        Record::whole(BEGIN_NS + n * 100_000_000, frame.finish())
    };
    Pcap::of(1).write(&(0..600).map(flow).collect::<Vec<_>>())
}

/// Training takes longer than everything else in a reading, so rows are scored only on request.
#[test]
fn rows_are_scored_only_with_a_model_or_with_learning() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("verdicts")?;
    let path = folder.write("a.pcap", &minute_of_flows())?;
    let model = folder.argument("model.json");
    let scored = |arguments: &[&str]| -> Result<(u64, Vec<Value>, String)> {
        let answer = read(&[&[path.as_str()], arguments].concat())?;
        ensure!(answer.code == Some(0) && answer.packets()? == 600, "{arguments:?}: {}", answer.stderr);
        let of = |kind: &str| answer.rows.iter().filter(|row| row["type"] == kind).cloned().collect::<Vec<_>>();
        let rows = [of("flow"), of("host")].concat();
        let verdicts = rows.iter().filter(|row| row["cluster"].is_u64() && row["score"].is_number()).count() as u64;
        ensure!(answer.summary()?["scored"] == verdicts, "{arguments:?}: {:?}", answer.summary());
        Ok((verdicts, rows, answer.stderr))
    };
    let (none, rows, stderr) = scored(&[])?;
    ensure!(none == 0, "{none} rows were scored without `--model` and `--learn`");
    ensure!(stderr.contains("'--learn'") && stderr.contains("none of them scored"), "{stderr}");
    let (learnt, with_learner, stderr) = scored(&["--learn"])?;
    ensure!(learnt == rows.len() as u64 && !stderr.contains("scored"), "{learnt} rows scored: {stderr}");
    let (first, ..) = scored(&["--model", &model])?;
    let is_saved = Path::new(&model).is_file();
    ensure!(first > 0 && first < learnt && is_saved, "{first} rows were scored by what was saved as {model}");
    let (second, ..) = scored(&["--model", &model])?;
    // Two hosts have 120 windows in all: too few for a learner of hosts.
    ensure!(second == 600, "by a model that is there, {second} rows were scored and not each of the 600 flows");
    // The measured values and the columns are the same.
    for (without, with) in rows.iter().zip(&with_learner) {
        let members = |row: &Value| row.as_object().cloned().context("a row is an object");
        let (without, with) = (members(without)?, members(with)?);
        ensure!(without.keys().eq(with.keys()), "other columns");
        let differs = |name: &&String| without[*name] != with[*name] && !VERDICT.contains(&name.as_str());
        ensure!(without.keys().find(differs).is_none(), "{without:?}\n{with:?}");
    }
    Ok(())
}

/// The columns that a learner adds to a row.
const VERDICT: [&str; 6] = ["cluster", "score", "probability", "anomaly", "withheld", "reason"];

#[test]
fn standard_output_may_be_closed() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = Folder::new("gone")?;
    let path = folder.write("a.pcap", &capture(20_000))?;
    let mut child = Command::new(binary()?)
        .args(["read", "-q", "-o", "jsonl=-", &path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{:?}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    ensure!(Path::new(&path).is_file(), "the capture is still there");
    Ok(())
}
