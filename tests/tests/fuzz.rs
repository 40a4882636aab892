//! Runs every input that the fuzzer has found, and every seed, again.

use std::fs;
use std::io::Write as _;

use anyhow::{Context, Result, ensure};
use flowml_tests::fuzz::{TARGETS, corpus, run, seeds};

#[test]
fn inputs_that_the_fuzzer_found_stay_fixed() -> Result<()> {
    for target in &TARGETS {
        let paths = corpus(target)?;
        ensure!(!paths.is_empty(), "there are no inputs for {}", target.name);
        let mut bytes = 0;
        for path in &paths {
            let input = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            bytes += input.len();
            // Prints the path of the input that failed, after the message of the panic.
            let named = Named(path.display().to_string());
            run(target.name, &input);
            drop(named);
        }
        print(&format!("{}: {} inputs of {bytes} bytes replayed", target.name, paths.len()))?;
    }
    Ok(())
}

/// Prints the path of the input that was replayed when the thread panicked.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was {}", self.0);
        }
    }
}

/// The test harness captures `eprintln!`, and the number of replayed inputs must be seen.
fn print(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "fuzz, {text}")?)
}

#[test]
fn every_seed_passes() -> Result<()> {
    let seeds = seeds();
    for target in &TARGETS {
        assert!(seeds.iter().any(|seed| seed.target == target.name), "there is no seed for {}", target.name);
    }
    for seed in &seeds {
        let _named = Named(format!("{} of {}", seed.name, seed.target));
        run(seed.target, &seed.bytes);
    }
    print(&format!("{} seeds", seeds.len()))
}
