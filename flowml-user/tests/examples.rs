//! The examples: they read a committed capture, and tables that the test writes.
#![allow(dead_code, clippy::allow_attributes, reason = "the examples' own main functions are not called")]

#[path = "../examples/flows.rs"]
mod flows;
#[path = "../examples/score.rs"]
mod score;

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

#[test]
fn a_capture_gives_its_flows() -> Result<(), Box<dyn Error>> {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/ethernet.pcap");
    let flows = flows::flows(&capture)?;
    assert!(!flows.is_empty());
    assert!(flows.iter().all(|flow| flow.both.packets > 0 && flow.both.frame_bytes >= flow.both.packets));
    Ok(())
}

#[test]
fn a_row_unlike_the_normal_rows_has_the_smallest_probability() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let [normal, table] = ["normal.csv", "table.csv"].map(|name| folder.path().join(name));
    let mut rows = "packets,bytes\n".to_owned();
    for n in 0..500 {
        writeln!(rows, "{},{}", 10 + n % 7, 1000 + 13 * (n % 29))?;
    }
    fs::write(&normal, rows)?;
    fs::write(&table, "packets,bytes\n12,1100\n15,1300\n90000,7\n")?;
    let probabilities = score::probabilities(&normal, &table)?;
    assert!(probabilities[2] < 0.01 && probabilities[2] < probabilities[0].min(probabilities[1]), "{probabilities:?}");
    Ok(())
}
