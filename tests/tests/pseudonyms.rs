//! `--anonymize` replaces every address in every output as another implementation of Crypto-PAn does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use flowml_tests::agent::{ensure_refused, flowml};
use flowml_tests::peers::{Peers, require_peers};
use serde_json::Value;

/// A capture with downloads, pings and refused connections, over IPv4 and IPv6 (tests/corpus/README.md).
fn corpus() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/ethernet.pcap").display().to_string()
}

/// The rows of the capture.
fn rows(folder: &Path, options: &str) -> Result<Vec<Value>> {
    let output = flowml(folder, &format!("read {} --model builtin -q -o jsonl=- -o csv=rows.csv {options}", corpus()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

/// The members with addresses.
const ADDRESSES: [&str; 3] = ["src_ip", "dst_ip", "address"];

fn addresses(rows: &[Value]) -> impl Iterator<Item = &str> {
    rows.iter().flat_map(|row| ADDRESSES.iter().filter_map(|name| row[name].as_str()))
}

/// The pseudonyms of these addresses by the other implementation.
fn expected(peers: &Peers, key: &Path, rows: &[Value]) -> Result<BTreeMap<String, String>> {
    let lines: String = addresses(rows).map(|address| format!("{address}\n")).collect();
    let pseudonyms = peers.run("pseudonyms.py", &[key], &lines)?;
    Ok(addresses(rows).map(ToOwned::to_owned).zip(pseudonyms.lines().map(ToOwned::to_owned)).collect())
}

#[test]
fn every_address_is_replaced_and_nothing_else_changes() -> Result<()> {
    let Some(peers) = require_peers() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let key = folder.path().join("key");
    fs::write(&key, "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef\n")?;
    let real = rows(folder.path(), "")?;
    let shown = rows(folder.path(), "--anonymize key")?;
    let pseudonyms = expected(&peers, &key, &real)?;
    ensure!(pseudonyms.keys().any(|address| address.contains(':')), "the capture has IPv6");
    assert_eq!(real.len(), shown.len());
    for (real, shown) in real.iter().zip(&shown) {
        for (name, value) in real.as_object().context("an object")? {
            let other = &shown[name];
            match name.as_str() {
                "src_ip" | "dst_ip" | "address" => {
                    let address = value.as_str().context("an address")?;
                    ensure!(other.as_str() == pseudonyms.get(address).map(String::as_str), "{other} for {address}");
                }
                "src_mac" | "dst_mac" => assert_eq!(other, "00:00:00:00:00:00"),
                "src_oui" | "dst_oui" => assert_eq!(other, "00:00:00"),
                "community_id" => ensure!(other != value, "{other}"),
                "sources" | "targets" | "summary" | "duration_s" => {}
                _ => ensure!(other == value, "{name}: {other} instead of {value}"),
            }
        }
    }
    // No output contains an address of the capture. Pseudonyms may be equal to one by chance, but not to these.
    let texts = [serde_json::to_string(&shown)?, fs::read_to_string(folder.path().join("rows.csv"))?];
    for address in pseudonyms.keys().filter(|address| !pseudonyms.values().any(|pseudonym| pseudonym == *address)) {
        let quoted = [format!("\"{address}\""), format!(",{address},")];
        ensure!(!texts.iter().any(|text| quoted.iter().any(|quoted| text.contains(quoted))), "{address}");
    }
    Ok(())
}

#[test]
fn an_invalid_key_is_refused_and_not_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("key"), "secret")?;
    let read = format!("read {} -q -o csv=rows.csv --anonymize", corpus());
    let words = "cannot read the key key: expected a key of 64 hexadecimal digits, as 'openssl rand -hex 32' makes it";
    ensure_refused(folder.path(), &format!("{read} key"), 1, words)?;
    ensure_refused(folder.path(), &format!("{read} nothing"), 1, "cannot read the key nothing: No such file")
}
