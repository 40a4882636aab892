//! A short soak test: every fault and every attack once, and a check after each quarter.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use flowml_tests::lab::require_lab;
use flowml_tests::screen::Screen;
use flowml_tests::soak::{Plan, run};

/// The result does not depend on the speed of the machine. The duration does.
#[test]
#[ignore = "it takes minutes: cargo xtask test --long"]
fn a_minute_of_attacks_and_faults_loses_no_packet() -> Result<()> {
    let Some(lab) = require_lab() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let plan = Plan { folder: folder.path().join("soak"), length: Duration::from_secs(60), seed: 7 };
    let failures = run(lab, &plan, &Screen::new())?;
    let message = fs::read_to_string(plan.folder.join("agent.log"))?;
    assert!(failures.is_empty(), "{failures:#?}\n{message}");
    let lines = |name: &str| -> Result<Vec<Vec<String>>> {
        let text = fs::read_to_string(plan.folder.join(name))?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    };
    let measures = lines("measures.tsv")?;
    assert!(measures.len() >= 2 && measures.iter().all(|line| line.len() == measures[0].len()), "{measures:?}");
    assert!(lines("outcomes.tsv")?.len() > 2);
    assert!(fs::read_to_string(plan.folder.join("soak.html"))?.contains("<svg"));
    Ok(())
}
