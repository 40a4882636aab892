//! Makes the labelled corpus, and shows what is in it.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use flowml_tests::corpus::{self, Equipment, Plan};
use flowml_tests::lab::Lab;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (town, arguments) = match arguments.as_slice() {
        [first, rest @ ..] if first == "--town" => (true, rest),
        all => (false, all),
    };
    let Some(plan) = plan(arguments) else {
        eprintln!("usage: corpus [--town] FOLDER SECONDS SEED [CLASS]...");
        return ExitCode::from(2);
    };
    let town = || if town { corpus::make_town(Lab::new()?, &plan) } else { Ok(()) };
    match show(&plan).and_then(|()| town()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(arguments: &[OsString]) -> Option<Plan> {
    let [folder, seconds, seed, classes @ ..] = arguments else { return None };
    let ordinary = Duration::from_secs(seconds.to_str()?.parse().ok()?);
    let seed = seed.to_str()?.parse().ok()?;
    let classes = classes.iter().map(|class| class.to_string_lossy().into_owned()).collect();
    Some(Plan { folder: folder.into(), ordinary, seed, equipment: Equipment::Corpus, classes })
}

fn show(plan: &Plan) -> Result<()> {
    let pasts = corpus::make(&Lab::new()?, plan)?;
    if pasts.is_empty() {
        bail!("there are no attacks");
    }
    println!("{:<6}{:<19}{:>8}{:>7}  {:<25}{:>8}  tool", "part", "class", "packets", "flows", "begun", "seconds");
    for past in &pasts {
        println!(
            "{:<6}{:<19}{:>8}{:>7}  {:<25}{:>8.1}  {}",
            past.part.name(),
            past.attack.class,
            past.seen.packets,
            past.seen.flows,
            past.began()?,
            past.lasted.as_secs_f64(),
            past.attack.tool
        );
    }
    Ok(())
}
