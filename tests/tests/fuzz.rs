//! Every input that the fuzzer has found, and all that it began with, through the same code again.

use std::fs;
use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use flowml_tests::fuzz::{TARGETS, corpus, run, seeds};

#[test]
fn what_the_fuzzer_found_stays_mended() -> Result<()> {
    for target in &TARGETS {
        let paths = corpus(target)?;
        ensure!(!paths.is_empty(), "there are no inputs for {}", target.name);
        let mut bytes = 0;
        for path in &paths {
            let input = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            bytes += input.len();
            // Which input it was that failed, after the message of the failure.
            let told = Told(path.display().to_string());
            run(target.name, &input);
            drop(told);
        }
        tell(&format!("{}: {} inputs of {bytes} bytes replayed", target.name, paths.len()))?;
    }
    Ok(())
}

/// Names an input where it panics.
struct Told(String);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was {}", self.0);
        }
    }
}

/// Not `eprintln!`, which the test harness captures: how much was replayed must be seen.
fn tell(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "fuzz, {text}")?)
}

#[test]
fn every_seed_holds() -> Result<()> {
    let seeds = seeds();
    for target in &TARGETS {
        assert!(seeds.iter().any(|seed| seed.target == target.name), "there is no seed for {}", target.name);
    }
    for seed in &seeds {
        let _told = Told(format!("{} of {}", seed.name, seed.target));
        run(seed.target, &seed.bytes);
    }
    tell(&format!("{} seeds", seeds.len()))
}
