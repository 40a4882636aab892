//! Offline equals live: the kernel's code and `flowml read` give the same rows for a capture.
//!
//! A capture that is replayed frame by frame through the kernel's own code gives the entries and the rows of `flowml
//! read`, byte for byte.
//!
//! There are two exceptions. Frames of other link types get an Ethernet header, so the kernel's frame bytes differ by
//! the difference of the two headers, and are compared without it. Frames that the kernel cannot process
//! ([`Unreplayable`]) are left out on both sides and counted, and their result must be that of the rule.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flowml_common::content::PayloadLimit;
use flowml_common::filter::Filter;
use flowml_common::packet::Skipped;
use flowml_common::table::Metered;
use flowml_common::tunnel::PortList;
use flowml_tests::captures::{Interface, Order, PacketBlock, Pcap, Pcapng, Record, gzip, zstandard};
use flowml_tests::folder::Folder;
use flowml_tests::frames::{NAMED, TUNNELLED};
use flowml_tests::program::require_kernel;
use flowml_tests::replay::{Compared, Reference, Replay, Unreplayable};
use flowml_tests::traffic::raw::on_cpu;
use flowml_user::capture::file::{CaptureFile, Captured, FileError, Problem};
use flowml_user::capture::filter::PacketFilter;
use flowml_user::engine::Pipeline;
use flowml_user::engine::epochs::Epochs;
use flowml_user::engine::learners::Learners;
use flowml_user::engine::offline::{FileTable, Offline, table};
use flowml_user::export::{Destination, Pace, Sinks, Target};
use flowml_user::features::{FlowColumns, RowColumns};
use flowml_user::learning::Settings;
use flowml_user::record::{Inspector, Pattern};
use flowml_user::session::Timeouts;

/// The results for the files of a corpus.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    files: u64,
    /// Files of an unsupported link type.
    refused: u64,
    /// Files that could not be read to their end.
    incomplete: u64,
    rows: u64,
    left_out: BTreeMap<Unreplayable, u64>,
}

/// Does what `flowml read` does with a file, on any table that keeps this much payload. Returns the rows, and the
/// problem of the file.
fn read<T: FileTable>(
    table: T,
    (payload, tunnels): (Option<PayloadLimit>, bool),
    path: &Path,
    folder: &Folder,
    left_out: &mut BTreeMap<Unreplayable, u64>,
) -> Result<(Vec<u8>, Option<FileError>)> {
    // Scores are left out: they are functions of the rows, and training takes longer than everything else here.
    let epochs = Epochs::new(Duration::from_secs(1), Timeouts::default().idle);
    read_with((None, epochs, payload, tunnels), table, path, folder, left_out)
}

fn read_with<T: FileTable>(
    (learners, epochs, payload, tunnels): (Option<Learners>, Epochs, Option<PayloadLimit>, bool),
    table: T,
    path: &Path,
    folder: &Folder,
    left_out: &mut BTreeMap<Unreplayable, u64>,
) -> Result<(Vec<u8>, Option<FileError>)> {
    let rows = folder.path("rows.jsonl");
    let target = Target::Jsonl(Destination::File(rows.clone().into()));
    let inspector = payload.map(|_| inspector()).transpose()?;
    let columns = RowColumns { flows: FlowColumns::of(inspector.as_ref()), tunnels };
    let sinks = Sinks::open(&[target], columns, Pace::Offline)?;
    let pipeline = Pipeline::new(Timeouts::default(), Vec::new(), learners, sinks, 0, 0).with_inspector(inspector);
    let pipeline = pipeline.with_tunnels(tunnels);
    let mut offline = Offline::new(table, pipeline, epochs)?;
    let mut file = CaptureFile::open(path)?;
    let error = loop {
        match file.next_frame() {
            Ok(Some(captured)) => match Unreplayable::of(&captured) {
                Some(rule) => {
                    check_rule(rule, &captured)?;
                    *left_out.entry(rule).or_default() += 1;
                }
                None => ensure!(offline.count(&captured)?.is_continue(), "reading a file was stopped"),
            },
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let finished = offline.finish()?;
    finished.outputs?;
    ensure!(finished.conserved, "packet accounting is not consistent");
    let bytes = fs::read(&rows).with_context(|| format!("reading {}", rows.display()))?;
    Ok((bytes, error))
}

/// An inspector with patterns that occur in some of the captures.
fn inspector() -> Result<Inspector> {
    let patterns = ["get=^GET ", "zeroes=(?-u)\\x00{4}", "example=(?i)example"].map(str::parse::<Pattern>);
    let patterns = patterns.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Inspector::new(&patterns)?)
}

/// Checks that a frame that the kernel cannot process has the result of the rule: a cut header is counted as truncated.
fn check_rule(rule: Unreplayable, captured: &Captured<'_>) -> Result<()> {
    if rule == Unreplayable::CutHeader {
        let metered = captured.meter(&mut table());
        ensure!(metered == Metered::Skipped(Skipped::Truncated), "a frame without its header is {metered:?}");
    }
    Ok(())
}

/// Reads a file twice, with the kernel and without it, and compares.
fn compare(replay: &mut Replay, path: &Path, folder: &Folder, tally: &mut Tally) -> Result<()> {
    tally.files += 1;
    let kept = (replay.payload(), replay.tunnels().is_some());
    let reference = Reference::new(replay.payload(), replay.tunnels(), replay.filter());
    let (rows, error) = read(reference, kept, path, folder, &mut BTreeMap::new())?;
    let (kernel_rows, _) = read(&mut *replay, kept, path, folder, &mut tally.left_out)?;
    if let Some((kernel, offline)) =
        kernel_rows.split(|byte| *byte == b'\n').zip(rows.split(|byte| *byte == b'\n')).find(|(a, b)| a != b)
    {
        let text = |row: &[u8]| String::from_utf8_lossy(row).into_owned();
        anyhow::bail!("rows by the kernel and without it:\n{}\n{}", text(kernel), text(offline));
    }
    ensure!(kernel_rows.len() == rows.len(), "the two readings have different numbers of rows");
    tally.rows += rows.iter().filter(|byte| **byte == b'\n').count() as u64;
    tally.incomplete += u64::from(error.is_some());
    Ok(())
}

/// Payload that one of the two comparisons keeps: more than the smallest chunk, and not a multiple of it.
const PAYLOAD: Option<PayloadLimit> = PayloadLimit::new(200);

/// The filter of one of the comparisons. It does not compare lengths, because the frames of some link types get another header.
const FILTER: &str = "(udp or tcp dst portrange 1-1023 or icmp6 or net 10.0.0.0/8 or vlan 10 or ip6 multicast) and not \
     (src host fd77::1 or ether src 02:77:00:00:00:02)";

/// Compares all files, without payload and with it, and prints the counts.
fn compare_all(name: &str, paths: &[PathBuf]) -> Result<(Tally, Compared)> {
    let without = compare_with((None, None, None), name, paths)?;
    let with = compare_with((PAYLOAD, None, None), name, paths)?;
    let inside =
        compare_with((PAYLOAD, Some(PortList::default()), None), &format!("{name}, inside of tunnels"), paths)?;
    let filter: PacketFilter = FILTER.parse()?;
    for tunnels in [None, Some(PortList::default())] {
        let filtered = compare_with((PAYLOAD, tunnels, Some(filter.filter())), &format!("{name}, filtered"), paths)?;
        ensure!(filtered.1.frames == with.1.frames, "{:?}, without a filter {:?}", filtered.1, with.1);
        ensure!((1..with.1.counted).contains(&filtered.1.counted), "{:?}, without a filter {:?}", filtered.1, with.1);
    }
    ensure!(inside.0.left_out == with.0.left_out, "inside of tunnels {:?}, outside {:?}", inside.0, with.0);
    ensure!(inside.1.frames == with.1.frames && inside.1.counted >= with.1.counted, "{:?}, {:?}", inside.1, with.1);
    ensure!(without.0 == with.0, "without payload {:?}, with it {:?}", without.0, with.0);
    let counts = |compared: Compared| Compared { payload_bytes: 0, ..compared };
    ensure!(counts(without.1) == counts(with.1), "without payload {:?}, with it {:?}", without.1, with.1);
    ensure!(without.1.payload_bytes == 0 && with.1.payload_bytes > 0, "{:?}", with.1);
    Ok(with)
}

fn compare_with(
    (payload, tunnels, filter): (Option<PayloadLimit>, Option<PortList>, Option<&Filter>),
    name: &str,
    paths: &[PathBuf],
) -> Result<(Tally, Compared)> {
    let folder = Folder::new(name)?;
    let (tally, compared) = on_cpu(0, || {
        let (mut tally, mut replay) = (Tally::default(), Replay::load(payload, tunnels, filter)?);
        for path in paths {
            match CaptureFile::open(path) {
                Ok(_) => {}
                Err(FileError { problem: Problem::LinkType { .. }, .. }) => {
                    tally.refused += 1;
                    continue;
                }
                Err(FileError { problem: Problem::NotACapture, .. }) if !is_capture(path) => continue,
                Err(error) => return Err(error.into()),
            }
            compare(&mut replay, path, &folder, &mut tally).with_context(|| path.display().to_string())?;
        }
        anyhow::Ok((tally, replay.compared))
    })??;
    // The test harness captures `eprintln!`, and the amount that was compared must be seen.
    writeln!(
        std::io::stderr(),
        "parity, {name}: {} files, {} frames, {} entries of flows in {} drains and {} rows are the same ({} files have \
         another link type, {} are not complete, frames left out by rule: {:?}); {} bytes of first payloads",
        tally.files,
        compared.frames,
        compared.entries,
        compared.drains,
        tally.rows,
        tally.refused,
        tally.incomplete,
        tally.left_out,
        compared.payload_bytes,
    )?;
    Ok((tally, compared))
}

/// Whether a file is a capture. The folders also contain tables of labels and a description.
fn is_capture(path: &Path) -> bool {
    path.extension().is_none_or(|extension| extension != "csv" && extension != "md")
}

/// All files below a folder, sorted by name.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Time of the first packet in ns.
const BEGIN_NS: u64 = 1_700_000_000_250_000_000;

/// The named frames twice, 37.001 ms apart, so that many flows have two packets and extend over two epochs.
fn named_frames() -> Vec<Record> {
    let all = || NAMED.iter().map(|named| named.build).chain(TUNNELLED.iter().map(|named| named.build));
    let frames = all().chain(all()).map(|build| build());
    frames.zip(0..).map(|(bytes, n)| Record::whole(BEGIN_NS + n * 37_001_000, bytes)).collect()
}

/// The named frames after another header: the one that `header` makes of an EtherType, if it can represent it.
fn behind(header: impl Fn(u16) -> Option<Vec<u8>>) -> Vec<Record> {
    let replaced = |record: Record| {
        let ethertype = record.bytes.get(12..14)?.try_into().ok()?;
        let bytes = [&header(u16::from_be_bytes(ethertype))?[..], &record.bytes[14..]].concat();
        Some(Record::whole(record.time_ns, bytes))
    };
    named_frames().into_iter().filter_map(replaced).collect()
}

fn family(ethertype: u16, ipv6: u8) -> Option<u8> {
    match ethertype {
        0x0800 => Some(2),
        0x86dd => Some(ipv6),
        _ => None,
    }
}

/// Link types, each with the named frames in its form.
fn of_link_types() -> Vec<(u16, Vec<Record>)> {
    let raw = |only: Option<u16>| {
        behind(move |found| only.map_or([0x0800, 0x86dd].contains(&found), |only| found == only).then(Vec::new))
    };
    let cooked = |ethertype: u16| {
        let [high, low] = ethertype.to_be_bytes();
        Some(vec![0, 0, 0, 1, 0, 6, 2, 0x77, 0, 0, 0, 1, 0, 0, high, low])
    };
    let cooked2 = |ethertype: u16| {
        let [high, low] = ethertype.to_be_bytes();
        Some(vec![high, low, 0, 0, 0, 0, 0, 7, 0, 1, 0, 6, 2, 0x77, 0, 0, 0, 1, 0, 0])
    };
    vec![
        (12, raw(None)),
        (14, raw(None)),
        (101, raw(None)),
        (228, raw(Some(0x0800))),
        (229, raw(Some(0x86dd))),
        (0, behind(|ethertype| Some(vec![family(ethertype, 30)?, 0, 0, 0]))),
        (0, behind(|ethertype| Some(vec![0, 0, 0, family(ethertype, 24)?]))),
        (108, behind(|ethertype| Some(vec![0, 0, 0, family(ethertype, 28)?]))),
        (113, behind(cooked)),
        (276, behind(cooked2)),
    ]
}

/// Unusual times of captures: late packets, a second packet at the same time, silences, and a clock that is set back.
fn at_unusual_times() -> Vec<Record> {
    let offsets_s = [0.0, 0.9, 0.9, 0.4, 1.0, 0.999_999, 3.5, 3.2, 40.0, 39.0, 200.0, 190.0, 900.0, 10.0, 11.0, 40.0];
    let bytes = NAMED.iter().filter(|named| named.skipped.is_none()).map(|named| (named.build)()).collect::<Vec<_>>();
    let record = |(n, offset_s): (usize, &f64)| {
        // There are few flows, so that each has several packets.
        Record::whole(BEGIN_NS + (offset_s * 1e6) as u64 * 1000, bytes[n % 5].clone())
    };
    offsets_s.iter().enumerate().map(record).collect()
}

/// A pcapng file with all features of the format.
fn pcapng(order: Order, other: Order) -> Vec<u8> {
    let interfaces = [
        Interface { resolution: Some(9), ..Interface::of(1) },
        Interface { link: 1, resolution: Some(0x80 | 20), offset_s: Some(1_600_000_000) },
        Interface::of(101),
    ];
    let mut file = Pcapng::new(order, &interfaces);
    let kinds = [PacketBlock::Enhanced, PacketBlock::Obsolete, PacketBlock::Simple];
    for (n, record) in named_frames().iter().enumerate() {
        let kind = kinds[n % 3];
        let number = if kind == PacketBlock::Simple { 0 } else { n % 2 };
        file.packet(kind, number as u16, &interfaces[number], record);
        if n % 50 == 0 {
            file.stranger();
        }
    }
    for record in &of_link_types()[2].1 {
        file.packet(PacketBlock::Enhanced, 2, &interfaces[2], record);
    }
    let later = [Interface::of(113)];
    file.section(other, &later);
    for record in &of_link_types()[8].1 {
        file.packet(PacketBlock::Enhanced, 0, &later[0], record);
    }
    file.finish()
}

/// Every supported kind of file, made of the named frames.
#[test]
fn captures_of_the_named_frames_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let (folder, records) = (Folder::new("named")?, named_frames());
    let ethernet = Pcap::of(1);
    let mut files = vec![
        ("little-endian.pcap".to_owned(), ethernet.write(&records)),
        ("with_fcs.pcap".to_owned(), Pcap::of(1 | 1 << 26 | 2 << 28).write(&records)),
        ("odd_times.pcap".to_owned(), ethernet.write(&at_unusual_times())),
        ("little-endian.pcapng".to_owned(), pcapng(Order::Little, Order::Big)),
        ("big-endian.pcapng".to_owned(), pcapng(Order::Big, Order::Little)),
    ];
    for (n, (link, records)) in of_link_types().into_iter().enumerate() {
        ensure!(records.len() >= 40, "{} frames of link type {link} are too few", records.len());
        files.push((format!("link_type_{link}_{n}.pcap"), Pcap::of(link.into()).write(&records)));
    }
    for snap in [0, 6, 13, 14, 30, 34, 54, 60, 64] {
        let snapped: Vec<_> = records.iter().map(|record| record.clone().snapped(snap)).collect();
        files.push((format!("snapped_{snap}.pcap"), ethernet.write(&snapped)));
    }
    let paths: Vec<_> =
        files.iter().map(|(name, bytes)| Ok(folder.write(name, bytes)?.into())).collect::<Result<_>>()?;
    let (tally, compared) = compare_all("captures of the named frames", &paths)?;
    ensure!((tally.files, tally.refused, tally.incomplete) == (files.len() as u64, 0, 0), "{tally:?}");
    ensure!(!tally.left_out.contains_key(&Unreplayable::TooLong), "{tally:?}");
    ensure!(compared.frames > 5000 && compared.counted > 2500 && compared.drains > 200, "{compared:?}");
    Ok(())
}

/// The same packets give the same rows, whatever the byte order, the resolution and the compression.
#[test]
fn the_format_of_a_capture_does_not_matter() -> Result<()> {
    let (folder, records) = (Folder::new("formats")?, named_frames());
    let plain = Pcap::of(1);
    let file = plain.write(&records);
    let (first, second) = file.split_at(file.len() / 3);
    let interface = Interface { resolution: Some(9), ..Interface::of(1) };
    let pcapng = |order| {
        let mut file = Pcapng::new(order, &[interface]);
        for record in &records {
            file.packet(PacketBlock::Enhanced, 0, &interface, record);
        }
        file.finish()
    };
    let files = [
        ("plain", file.clone()),
        ("big_endian", Pcap { order: Order::Big, ..plain }.write(&records)),
        ("nanoseconds", Pcap { nanoseconds: true, ..plain }.write(&records)),
        ("nanoseconds_big_endian", Pcap { order: Order::Big, nanoseconds: true, ..plain }.write(&records)),
        ("modified", Pcap { modified: true, ..plain }.write(&records)),
        ("modified_big_endian", Pcap { order: Order::Big, modified: true, ..plain }.write(&records)),
        ("pcapng", pcapng(Order::Little)),
        ("pcapng_big_endian", pcapng(Order::Big)),
        ("gzip", gzip(&[&file])?),
        ("gzip_of_two_members", gzip(&[first, second])?),
        ("zstd", zstandard(&[&file])?),
        ("zstd_of_two_frames", zstandard(&[first, second])?),
    ];
    let mut expected = None;
    for (name, bytes) in files {
        let path = folder.write(name, &bytes)?;
        let (rows, error) = read(table(), (None, false), path.as_ref(), &folder, &mut BTreeMap::new())?;
        ensure!(error.is_none(), "{error:?}");
        ensure!(expected.get_or_insert_with(|| rows.clone()) == &rows, "{name} gives other rows than a plain pcap");
    }
    Ok(())
}

/// Skipping the intervals of a silence changes no row and no score.
#[test]
fn silences_change_no_row() -> Result<()> {
    let folder = Folder::new("silences")?;
    let path = folder.write("odd_times.pcap", &Pcap::of(1).write(&at_unusual_times()))?;
    let settings = Settings { warm_up_rows: 4, warm_up_batches: 100, clusters: Some(2), ..Settings::default() };
    for interval in [100, 700, 1000, 5000].map(Duration::from_millis) {
        let epochs = Epochs::new(interval, Timeouts::default().idle);
        let read = |epochs| {
            let learners = Some(Learners::new(FlowColumns::Headers, &settings));
            read_with((learners, epochs, None, false), table(), path.as_ref(), &folder, &mut BTreeMap::new())
        };
        let (with, _) = read(epochs.clone())?;
        let (without, _) = read(epochs.without_leaps())?;
        let rows = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
        for (with, without) in rows(&with).iter().zip(&rows(&without)) {
            let text = |row: &[u8]| String::from_utf8_lossy(row).into_owned();
            ensure!(
                with == without,
                "at {interval:?}, rows with and without leaps:\n{}\n{}",
                text(with),
                text(without)
            );
        }
        let is_score = |text: &[u8]| text.starts_with(b"\"score\":") && text[8].is_ascii_digit();
        ensure!(with.windows(9).any(is_score), "nothing was scored");
    }
    Ok(())
}

/// Captures that real tools have made of a laboratory's traffic (tests/corpus/README.md).
#[test]
fn captures_of_real_tools_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let mut paths = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))?;
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "md"));
    let (tally, compared) = compare_all("captures of real tools", &paths)?;
    ensure!((tally.refused, tally.incomplete, tally.left_out.len()) == (0, 0, 0), "{tally:?}");
    ensure!(tally.files >= 4 && compared.frames > 500, "{tally:?}, {compared:?}");
    Ok(())
}

/// Captures of other projects, many of them malformed on purpose, if they are beside the checkout.
#[test]
fn captures_of_other_projects_agree() -> Result<()> {
    let Some(_lab) = require_kernel() else { return Ok(()) };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    if !folder.is_dir() {
        writeln!(std::io::stderr(), "parity, captures of other projects: there are none at {}", folder.display())?;
        return Ok(());
    }
    let mut paths = files_below(&folder)?;
    // The folder also contains a list of labels and descriptions.
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "md" && extension != "csv"));
    let (tally, compared) = compare_all("captures of other projects", &paths)?;
    ensure!(compared.frames > 0 && tally.files > 0, "nothing was compared");
    Ok(())
}
