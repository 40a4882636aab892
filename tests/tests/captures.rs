//! The commands for models on captures: a model that was trained on one capture scores the next.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{binary, ensure_refused, flowml};
use flowml_tests::captures::{Pcap, Record};
use flowml_tests::frames::{Frame, Ipv4, Ports};
use flowml_tests::lab::or_skip;
use serde_json::Value;

/// Time of the first packet in ns.
const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// Five hosts send requests to a server for 60 s, each ten times a second, each time from another port.
fn normal(begin_ns: u64) -> Vec<Record> {
    let ask = |n: u64| {
        let ports = Ports { source: 20_000 + (n % 30_000) as u16, destination: 53 };
        let frame = Frame::default().ipv4(&Ipv4 { source: [10, 0, 0, 1 + (n % 5) as u8].into(), ..server() });
        let payload = vec![0; 20 + (n * 7 % 40) as usize];
        Record::whole(begin_ns + n * 20_000_000, frame.udp(ports).payload(&payload).finish())
    };
    (0..3000).map(ask).collect()
}

/// One host probes every port for three seconds.
fn scan(begin_ns: u64) -> Vec<Record> {
    let ask = |n: u64| {
        let ports = Ports { source: 40_000, destination: 1 + n as u16 };
        let frame = Frame::default().ipv4(&Ipv4 { source: [10, 0, 0, 66].into(), ..server() });
        Record::whole(begin_ns + n * 1_000_000, frame.udp(ports).finish())
    };
    (0..3000).map(ask).collect()
}

fn server() -> Ipv4 {
    Ipv4 { destination: [10, 0, 9, 9].into(), ..Ipv4::default() }
}

/// The standard output of a command that must succeed.
fn done(folder: &Path, line: &str) -> Result<String> {
    let output = flowml(folder, line)?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "flowml {line}: {message}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A folder with two normal captures and one of an attack.
fn captures() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, records: &[Record]| std::fs::write(folder.path().join(name), Pcap::of(1).write(records));
    write("monday.pcap", &normal(BEGIN_NS))?;
    write("tuesday.pcap", &normal(BEGIN_NS + 86_400_000_000_000))?;
    write("attack.pcap", &scan(BEGIN_NS + 90_000_000_000_000))?;
    std::fs::write(folder.path().join("labels.csv"), "file,label\n*day.pcap,benign\nattack.pcap,scan\n")?;
    Ok(folder)
}

fn rows(text: &str, kind: &str) -> Result<Vec<Value>> {
    let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    Ok(rows.into_iter().filter(|row| row["type"] == kind).collect())
}

#[test]
fn a_model_of_one_capture_scores_the_next() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = captures()?;
    let folder = folder.path();
    done(folder, "train monday.pcap --model office.json -q")?;
    let shown = done(folder, "model show office.json")?;
    ensure!(shown.contains("the learner of flows, ready") && shown.contains("the learner of hosts, ready"), "{shown}");

    let quiet = done(folder, "read tuesday.pcap --model office.json -q -o jsonl=-")?;
    let hosts = rows(&quiet, "host")?;
    let unscored = hosts.iter().filter(|row| row["probability"].as_f64().is_none()).count();
    ensure!(hosts.len() > 300 && unscored == 0, "{unscored} of {} windows are not scored", hosts.len());
    ensure!(rows(&quiet, "incident")?.is_empty(), "tuesday's traffic is that of monday, and there are incidents");
    let loud = done(folder, "read attack.pcap --model office.json -q -o jsonl=-")?;
    let incidents = rows(&loud, "incident")?;
    let first = incidents.first().context("the scan is no incident")?;
    ensure!(first["sources"].as_str().is_some_and(|sources| sources.contains("10.0.0.66")), "{first}");

    // The same capture and seed give the same model, to the last byte.
    done(folder, "train monday.pcap --model again.json -q")?;
    done(folder, "train monday.pcap --model once_more.json -q")?;
    let read = |name: &str| std::fs::read(folder.join(name));
    ensure!(read("again.json")? == read("once_more.json")?, "two trainings differ");
    Ok(())
}

#[test]
fn feedback_about_an_incident_applies_to_the_next_run() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = captures()?;
    let folder = folder.path();
    done(folder, "train monday.pcap --model office.json -q")?;
    // A copy of the model is used each time, because reading continues to train it.
    let judge = |model: &str, outputs: &str| {
        std::fs::copy(folder.join(model), folder.join("used.json"))?;
        done(folder, &format!("read attack.pcap --model used.json -q {outputs} -o jsonl=-"))
    };
    let before = judge("office.json", "-o parquet=records")?;
    std::fs::write(folder.join("records.jsonl"), &before)?;
    let of_state = |state| {
        Ok::<_, anyhow::Error>(rows(&before, "incident")?.into_iter().filter(|row| row["state"] == state).count())
    };
    ensure!(
        [of_state("open")?, of_state("closed")?] == [1, 1],
        "expected one incident that opens and closes: {before}"
    );

    for records in ["records.jsonl", "records"] {
        std::fs::copy(folder.join("office.json"), folder.join("feedback.json"))?;
        done(folder, &format!("feedback {records} --incident 1 --benign --model feedback.json"))?;
        let after = judge("feedback.json", "")?;
        ensure!(
            rows(&after, "incident")?.is_empty(),
            "{records}: an incident that was labelled benign is reported again"
        );
        let shown = done(folder, "model show feedback.json")?;
        ensure!(shown.contains(&format!("benign: incident 1 of {records}")), "{shown}");
    }
    done(folder, "feedback records --incident 1 --attack --model feedback.json")?;
    let after = judge("feedback.json", "")?;
    ensure!(!rows(&after, "incident")?.is_empty(), "the last feedback, about an attack, does not apply");

    let other = flowml(folder, "feedback records --incident 7 --benign --model feedback.json")?;
    let message = String::from_utf8_lossy(&other.stderr);
    ensure!(other.status.code() == Some(1) && message.contains("no incident 7: expected 1 to 1"), "{message}");
    Ok(())
}

#[test]
fn captures_can_be_evaluated_as_flows_or_hosts_with_a_list_of_labels() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = captures()?;
    let folder = folder.path();
    for unit in ["flows", "hosts"] {
        let line = format!(
            "eval tuesday.pcap attack.pcap --train monday.pcap --labels labels.csv --benign benign --unit {unit} -q -o json=-"
        );
        let report: Value = serde_json::from_str(&done(folder, &line)?)?;
        let kmeans = &report["detectors"][0];
        ensure!(kmeans["name"] == "kmeans" && kmeans["auroc"].as_f64() > Some(0.99), "{unit}: {kmeans}");
        ensure!(kmeans["classes"]["scan"]["rows"].as_u64() > Some(0), "{unit}: {kmeans}");
    }
    done(folder, "train monday.pcap --unit flows --detector isolation-forest --model table.json -q")?;
    let scored = done(folder, "score attack.pcap --model table.json -q")?;
    let header = scored.lines().next().context("there is a header")?;
    ensure!(header.ends_with("score,probability,anomaly"), "{header}");
    ensure!(scored.lines().count() == 1 + 3000, "{} lines", scored.lines().count());
    Ok(())
}

#[test]
fn wrong_inputs_are_refused_in_one_line() -> Result<()> {
    let Some(_) = or_skip(binary()) else { return Ok(()) };
    let folder = captures()?;
    let folder = folder.path();
    done(folder, "train monday.pcap --unit flows --model table.json -q")?;
    let cases = [
        ("read tuesday.pcap --model table.json -o csv=-", 1, "is a model of a table; expected a model of traffic"),
        ("eval tuesday.pcap other.pcap --train monday.pcap --labels labels.csv --benign benign", 1, "other.pcap"),
        ("train -i lo --model m.json", 2, "--duration"),
        ("train monday.pcap --labels labels.csv --label-column x --model m.json", 2, "cannot be used with"),
    ];
    for (line, code, words) in cases {
        ensure_refused(folder, line, code, words)?;
    }
    Ok(())
}
